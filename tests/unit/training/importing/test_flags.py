"""What the values of the importer's flags must be, in words."""

import argparse
from collections.abc import Callable

import pytest

from diptych_training.importing.command import channels, spreads, whole_number, whole_numbers


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (whole_number(1), "abc", "'abc' must be a whole number, at least 1"),
        (whole_number(3), "1", "1 must be at least 3"),
        (whole_numbers, "64,", "'' must be a whole number, at least 1"),
        (channels, "1,2,x", "'1,2,x' must be three numbers, such as 0.48,0.46,0.41"),
        (channels, "1,2", "'1,2' must be three numbers"),
        (channels, "1,2,nan", "'1,2,nan' must be three numbers"),
        (spreads, "0.1,0,0.1", "'0.1,0,0.1' must be three numbers above 0"),
    ],
)
def test_value_that_cannot_be_is_said_with_what_it_must_be(
    read: Callable[[str], object], text: str, message: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        read(text)


def test_values_are_read() -> None:
    assert whole_number(3)("3") == 3
    assert whole_numbers("64,128") == (64, 128)
    assert channels("0,0.5,1") == (0.0, 0.5, 1.0)
    assert spreads("0.1,0.5,1") == (0.1, 0.5, 1.0)
