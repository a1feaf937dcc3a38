"""The calibration of a version, from the first of its files that can be used."""

from pathlib import Path

from diptych.adapters.files.calibration_reader import CalibrationReader
from diptych.bundle.calibration import calibrated_identity
from diptych.bundle.repository import ModelRepository
from support.calibrations import write_tiny_calibration
from support.tiny_bundle import TINY, write_tiny_bundle


def test_the_copy_counts_while_the_first_file_is_missing_or_of_other_vectors(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path)
    write_tiny_bundle(tmp_path, seed=1)
    manifest = ModelRepository(tmp_path).manifest(TINY, 1)
    first = write_tiny_calibration(tmp_path, 1)
    copy = first.replace(tmp_path / "copy")
    read = CalibrationReader((first, copy), manifest)

    def identity() -> str | None:
        found = read()
        return None if found is None else found.identity

    assert identity() == calibrated_identity(manifest)
    write_tiny_calibration(tmp_path, 2).replace(first)
    assert identity() == calibrated_identity(manifest)
    copy.unlink()
    assert identity() is None
