"""HEIC photographs are decoded with the optional dependency, which the error names if it is missing."""

import numpy as np
import pytest

from diptych.bundle.image import heic
from diptych.bundle.image.decode import ImageLimits, decode, probe
from diptych.errors import TooLarge, UnsupportedImage
from support.hostile.heics import PLAIN, TURNED, grid

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
    monkeypatch.setattr(heic, "why_unsupported", heic.why_unsupported.__wrapped__)
    with pytest.raises(UnsupportedImage, match=r"lacks the extra `heif`"):
        probe(PLAIN, LIMITS)


def test_limits_hold_before_pixels_are_decoded() -> None:
    with pytest.raises(TooLarge, match="64 x 48 = 3072 pixels"):
        probe(PLAIN, ImageLimits(max_px=3000))


def test_grid_of_tiles_is_read() -> None:
    found = pixels(grid(2, 2, 128, 128))
    assert found.shape == (128, 128, 3)
    for x in (0, 64):
        assert found[8, x + 8, 0] > 240 > 15 > found[8, x + 60, 0]
        assert found[72, x + 8, 0] > 240 > 15 > found[72, x + 60, 0]
