"""HEIC photographs: read with the extra, named without it."""

import struct
import time
from pathlib import Path

import numpy as np
import pytest

from diptych.bundle import bombs_heic, heic
from diptych.bundle.decode import ImageLimits, decode, probe
from diptych.bundle.heif import boxes_of, item_pieces, properties
from diptych.bundle.hevc import coded_pictures, largest_picture
from diptych.errors import TooLarge, UndecodableImage, UnsupportedImage
from support.heics import PLAIN, TURNED
from support.hostile.heics import configuration_of, grid, grid_of_itself, grids_of_grids, many_pictures

LIMITS = ImageLimits()


def pixels(payload: bytes) -> np.ndarray:
    return np.asarray(decode(payload, LIMITS, lambda image: image.convert("RGB")))


def test_photograph_has_the_pixels_that_were_coded() -> None:
    info = probe(PLAIN, LIMITS)
    assert (info.media_type, info.width, info.height) == ("image/heic", 64, 48)
    found = pixels(PLAIN)
    assert found.shape == (48, 64, 3)
    assert found[24, 8, 0] > 240 > 15 > found[24, 8, 2]
    assert found[24, 56, 2] > 240 > 15 > found[24, 56, 0]


def test_photograph_is_turned_upright_once() -> None:
    found = pixels(TURNED)
    assert found.shape == (64, 48, 3)
    assert found[8, 24, 0] > 240 > 15 > found[8, 24, 2]
    assert found[56, 24, 2] > 240 > 15 > found[56, 24, 0]


def test_installation_without_the_decoder_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heic, "DECODER", "no_such_decoder")
    monkeypatch.setattr(heic, "why_not", heic.why_not.__wrapped__)
    with pytest.raises(UnsupportedImage, match=r"lacks the extra `heif`"):
        probe(PLAIN, LIMITS)


def test_decoder_that_cannot_be_loaded_is_said_and_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken_decoder.py").write_text("raise ImportError('libheif.so.1: cannot open it')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(heic, "DECODER", "broken_decoder")
    monkeypatch.setattr(heic, "why_not", heic.why_not.__wrapped__)
    with pytest.raises(UnsupportedImage, match=r"pi_heif, cannot be loaded"):
        probe(PLAIN, LIMITS)
    assert "broken_decoder cannot be loaded: libheif.so.1: cannot open it" in caplog.text


def test_damage_is_an_error_of_ours_at_every_length_and_byte() -> None:
    for end in range(32, len(PLAIN), 7):
        with pytest.raises((UndecodableImage, TooLarge, UnsupportedImage)):
            pixels(PLAIN[:end])
    for position in range(24, len(PLAIN)):
        damaged = bytearray(PLAIN)
        damaged[position] ^= 0xFF
        try:
            pixels(bytes(damaged))
        except (UndecodableImage, TooLarge, UnsupportedImage):
            continue


def test_limits_hold_before_pixels_are_decoded() -> None:
    with pytest.raises(TooLarge, match="64 x 48 = 3072 pixels"):
        probe(PLAIN, ImageLimits(max_px=3000))


def test_size_of_the_coded_picture_is_read_from_its_parameter_set() -> None:
    boxes = boxes_of(PLAIN)
    ((configuration,),) = properties(boxes, b"hvcC").values()
    assert largest_picture(configuration) == 64 * 64  # of which 64 x 48 are shown
    ((_, _, piece),) = item_pieces(PLAIN, boxes, {b"hvc1"})
    assert list(coded_pictures(memoryview(piece))) == [(0, 1)]


def test_size_in_a_parameter_set_is_read_whatever_stands_before_it() -> None:
    for width, height in ((64, 64), (4096, 2160), (65_536, 65_536)):
        assert largest_picture(memoryview(configuration_of(width, height))) == width * height


def test_grid_of_tiles_is_read() -> None:
    found = pixels(grid(2, 2, 128, 128))
    assert found.shape == (128, 128, 3)
    for x in (0, 64):
        assert found[8, x + 8, 0] > 240 > 15 > found[8, x + 60, 0]
        assert found[72, x + 8, 0] > 240 > 15 > found[72, x + 60, 0]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(grid(4, 8, 64, 64, coded=(512, 512)), id="tiles of which a part of one is seen"),
        pytest.param(grid(1, 1, 30_000, 30_000, named=(64, 64)), id="canvas beyond the size that is named"),
        pytest.param(grid(1, 1, 64, 64, coded=(8_192, 8_192)), id="tile beyond the size that is named"),
        pytest.param(grids_of_grids(5, 16), id="grids of grids"),
        pytest.param(many_pictures(5_000), id="thousands of pictures in one item"),
    ],
)
def test_more_coded_than_the_size_that_is_named_is_refused_before_it_is_decoded(payload: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(TooLarge, match=r"codes at least \d+ pixels for a picture of 4096"):
        pixels(payload)
    assert time.monotonic() - began < 5  # decoded, they would take minutes


@pytest.mark.parametrize("kind", [b"Exi\xff", b"\xc3\x28if", b"mim\x80"])
def test_kind_of_an_item_that_is_no_text_is_undecodable_and_does_not_kill_the_process(kind: bytes) -> None:
    damaged = TURNED.replace(b"\0\0Exif", b"\0\0" + kind, 1)
    assert damaged != TURNED
    with pytest.raises(UndecodableImage, match="can't decode byte"):
        pixels(damaged)


def test_picture_that_is_a_part_of_itself_is_undecodable() -> None:
    with pytest.raises(UndecodableImage):
        pixels(grid_of_itself())
    with pytest.raises(UndecodableImage, match="put together over 8 times"):
        bombs_heic.check_coded(grid_of_itself(), 4096)  # whatever the decoder thinks of it


def test_thousands_of_pictures_inside_are_refused() -> None:
    entry = struct.pack(">I4sIHH4sB", 21, b"infe", 2 << 24, 1, 0, b"hvc1", 0)
    entries = entry * (bombs_heic.MAX_CODED_ITEMS + 1)
    listed = struct.pack(">I4sIH", 14 + len(entries), b"iinf", 0, 4097) + entries
    meta = struct.pack(">I4sI", 12 + len(listed), b"meta", 0) + listed
    with pytest.raises(TooLarge, match="4097 pictures inside"):
        probe(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + meta, LIMITS)
