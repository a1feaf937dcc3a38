"""Lists of pairs that are left out, by name; knows nothing of why they are."""

from collections.abc import Iterable
from pathlib import Path

from diptych_training.errors import DataError


def read_excluded(files: Iterable[str]) -> frozenset[str]:
    """The names in the first columns of tab-separated files whose first line is a heading. DataError that
    names the file."""
    return frozenset(name for file in files for name in _names(Path(file)))


def _names(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DataError(f"{file}: no such file of excluded pairs") from None
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    if lines[0].split("\t")[0] != "name":
        raise DataError(f"{file}: its first line must be a heading that begins with 'name'")
    return [line.split("\t")[0] for line in lines[1:] if line]
