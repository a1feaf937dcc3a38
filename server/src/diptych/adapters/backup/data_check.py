"""Compare a data folder with its checksums."""

from pathlib import Path

from diptych.adapters.backup.data_folder import DataFolder
from diptych.adapters.backup.folder import faults_of
from diptych.core.backup import Outcome, Report


def check(data_dir: Path, report: Report) -> Outcome:
    """Read every row, vector and image file of a folder that may be served.

    Raises CorruptStore for a database that contradicts itself, as a start would, and StoreError. What is
    deleted meanwhile is not lost.
    """
    folder = DataFolder(data_dir)
    report.begin("checking the database", 1)
    with folder.snapshot() as snapshot:
        snapshot.require_sound()
        damaged, lacks_checksums = snapshot.damaged_images(), snapshot.lacks_checksums()
        files = list(snapshot.files())
    report.begin("checking images", len(files))
    faults = faults_of(folder.images.check(files), report)
    with folder.snapshot() as newest:
        return Outcome(None, newest.lost_images(faults), damaged, lacks_checksums)
