"""Read the lines of a text file, and say in a few words why a file cannot be read."""

from pathlib import Path

from diptych.errors import InvalidValue


def read_lines(file: Path) -> list[str]:
    """Return the lines of a UTF-8 file, without a byte order mark. Raises InvalidValue naming the file."""
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidValue(f"is not UTF-8: {error.reason} at byte {error.start}", str(file)) from error
    except OSError as error:
        raise InvalidValue(f"cannot be read: {reason_of(error)}", str(file)) from error


def reason_of(error: Exception) -> str:
    """Return the message of an error for use in a sentence: no error number, file name or full stop."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error).rstrip(".") or type(error).__name__
