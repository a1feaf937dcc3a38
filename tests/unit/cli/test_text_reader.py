"""Files that arguments name: read, or refused in one line that says each thing once."""

from pathlib import Path

import pytest

from diptych.cli.text_reader import read_lines
from diptych.errors import InvalidValue


def test_unreadable_file_is_named_once_without_an_error_number(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "absent", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        with pytest.raises(InvalidValue) as refused:
            read_lines(path)
        assert str(refused.value) == f"{path}: {said}"


def test_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"a\n\xff")
    with pytest.raises(InvalidValue, match=r"is not UTF-8: invalid start byte at byte 2, in line 2$"):
        read_lines(tmp_path / "cat.png")
