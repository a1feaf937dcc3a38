"""Read the lines of a text file, and say in a few words why a file cannot be read."""

from codecs import BOM_UTF8
from pathlib import Path

from diptych.errors import InvalidValue


def read_text(file: Path) -> str:
    """Return the content of a UTF-8 file, without a byte order mark. Raises InvalidValue naming the file."""
    try:
        content = file.read_bytes().removeprefix(BOM_UTF8)
    except OSError as error:
        raise InvalidValue(f"cannot be read: {reason_of(error)}", str(file)) from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = f"{error.reason} at byte {error.start}, in line {line}"
        raise InvalidValue(f"is not UTF-8: {where}", str(file)) from error


def read_lines(file: Path) -> list[str]:
    """Return the lines of a UTF-8 file. Raises as `read_text`."""
    return read_text(file).splitlines()


def reason_of(error: Exception) -> str:
    """Return the message of an error for use in a sentence: no error number, file name or full stop."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error).rstrip(".") or type(error).__name__
