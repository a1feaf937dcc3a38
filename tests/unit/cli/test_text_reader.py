"""Files that arguments name: read, or refused in one line that says each thing once."""

from pathlib import Path

import pytest

from diptych.cli.text_reader import read_lines, reason_of
from diptych.errors import InvalidValue


def test_lines_of_a_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a cät\n\na dog", encoding="utf-8")
    assert read_lines(tmp_path / "labels.txt") == ["a cät", "", "a dog"]


def test_unreadable_file_is_named_once_without_an_error_number(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "absent", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        with pytest.raises(InvalidValue) as refused:
            read_lines(path)
        assert str(refused.value) == f"{path}: {said}"


def test_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"ab\xff")
    with pytest.raises(InvalidValue, match=r"is not UTF-8: invalid start byte at byte 2$"):
        read_lines(tmp_path / "cat.png")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(2, "No such file or directory", "x"), "No such file or directory"),
        (ValueError("It is none."), "It is none"),
        (EOFError(), "EOFError"),
    ],
)
def test_reason_has_no_number_file_name_or_full_stop(error: Exception, said: str) -> None:
    assert reason_of(error) == said
