"""HEIC photographs: read with the extra, named without it."""

import struct

import numpy as np
import pytest

from diptych.bundle import heic
from diptych.bundle.decode import ImageLimits, decode, probe
from diptych.errors import TooLarge, UndecodableImage, UnsupportedImage
from support.heics import PLAIN, TURNED

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
    monkeypatch.setattr(heic, "can_read", lambda: False)
    with pytest.raises(UnsupportedImage, match=r"lacks the extra `heif`"):
        probe(PLAIN, LIMITS)


def test_decoder_that_is_not_there_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heic, "DECODER", "no_such_decoder")
    assert heic.can_read.__wrapped__() is False


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


def test_thousands_of_pictures_inside_are_refused() -> None:
    entry = struct.pack(">I4sIHH4sB", 21, b"infe", 2 << 24, 1, 0, b"hvc1", 0)
    entries = entry * (heic.MAX_CODED_ITEMS + 1)
    listed = struct.pack(">I4sIH", 14 + len(entries), b"iinf", 0, 4097) + entries
    meta = struct.pack(">I4sI", 12 + len(listed), b"meta", 0) + listed
    with pytest.raises(TooLarge, match="4097 pictures inside"):
        probe(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + meta, LIMITS)
