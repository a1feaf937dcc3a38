"""Contact sheets draw the beginning of a long text."""

import pytest
from PIL import ImageChops

from diptych_training.reports.pictures import Cell, Line, contact_sheet


def sheet_of(caption: str):
    cells = [Cell((None,), (Line(caption, n_lines=2),))]
    return contact_sheet("photos", {"": cells}, columns=4, tile_px=64, n_lines=2)


@pytest.mark.parametrize("word", ["heron ", "heron"])
def test_a_caption_of_a_hundred_thousand_characters_is_drawn_as_one_of_a_few_hundred(word):
    long, shorter = sheet_of(word * 20_000), sheet_of(word * 60)

    assert ImageChops.difference(long, shorter).getbbox() is None
