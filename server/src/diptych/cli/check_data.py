"""`diptych check --data-dir`: look at the database of a data folder, and build damaged indexes anew."""

from pathlib import Path

from diptych.cli.console import out
from diptych.cli.data_folders import check_database, repair_database


def check_data(data_dir: Path, *, repair: bool) -> int:
    """0 when the structure of its database is sound now. Raises CorruptStore when not."""
    if repair:
        names = repair_database(data_dir)
        out(f"indexes built anew: {', '.join(names)}" if names else "no index was damaged")
    else:
        check_database(data_dir)
    out(f"{data_dir}: the structure of the database is sound")
    return 0
