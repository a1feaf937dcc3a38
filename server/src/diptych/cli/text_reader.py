"""Read a text file that an argument names, and say in a few words why not. Knows nothing of what is in it."""

from pathlib import Path

from diptych.errors import InvalidValue


def lines_of(file: Path) -> list[str]:
    """Its lines. Raises InvalidValue naming the file."""
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidValue(f"is not UTF-8: {error.reason} at byte {error.start}", str(file)) from error
    except OSError as error:
        raise InvalidValue(f"cannot be read: {why(error)}", str(file)) from error


def why(error: Exception) -> str:
    """What the system said, without number and file name; any other error's own words without a full stop."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error).rstrip(".") or type(error).__name__
