"""The contact sheet shows pictures of many captions and stays small."""

import numpy as np
from PIL import Image

from diptych_training.data.packed import PackedItem
from diptych_training.refresh.pairs.own import SHEET_FILE, TILE, write_contact_sheet
from diptych_training.reports.pictures import HEADING, LINE, MARGIN, MAX_BYTES

CELL_HEIGHT = TILE + 2 * LINE + 2 * MARGIN


def sheet_of(folder, images, labels):
    items = [PackedItem(id=f"{number}", label=label) for number, label in enumerate(labels)]
    write_contact_sheet(folder, images, items)
    file = folder / SHEET_FILE
    assert file.stat().st_size <= MAX_BYTES
    return Image.open(file).convert("RGB")


def test_a_rare_caption_is_on_the_sheet_among_many_pictures_of_others(tmp_path):
    images = np.zeros((500, 64, 64, 3), np.uint8)
    images[..., 2] = 255
    images[321] = (255, 0, 0)
    labels = ["blue"] * 500
    labels[321] = "red"

    sheet = sheet_of(tmp_path, images, labels)

    assert (255, 0, 0) in {colour for _, colour in sheet.getcolors(1 << 20)}


def test_a_sheet_of_few_pairs_has_few_rows(tmp_path):
    images = np.zeros((8, 64, 64, 3), np.uint8)
    sheet = sheet_of(tmp_path, images, [f"thing {number}" for number in range(8)])
    assert abs(sheet.height - HEADING - 2 * CELL_HEIGHT) < 20


def test_pictures_that_cannot_be_compressed_leave_room_for_fewer(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (21, 128, 128, 3), dtype=np.uint8)
    captions = [f"a very long caption of many words, number {number}, that goes on" for number in range(21)]
    sheet = sheet_of(tmp_path, images, captions)
    assert HEADING + CELL_HEIGHT <= sheet.height < HEADING + 3 * CELL_HEIGHT
