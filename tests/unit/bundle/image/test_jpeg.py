"""A JPEG that has too little data for the size in its header is damaged; a complete one never is."""

import numpy as np
import pytest
from PIL import Image

from diptych.bundle.image.jpeg import markers
from diptych.bundle.image.preprocess import ImageLimits, open_rgb
from diptych.errors import UndecodableImage
from support.bundle_examples import image_spec, noise
from support.pictures import encoded

SPEC, LIMITS = image_spec(), ImageLimits()
SIZES_OF_HEADER = {0xC0, 0xC2}  # baseline and progressive
KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "progressive with restarts": {"restart_marker_blocks": 1, "progressive": True},
    "full colours": {"subsampling": 0},
}
MODES = ("RGB", "L", "CMYK")


def with_size(payload: bytes, width: int, height: int) -> bytes:
    """Return the JPEG with another size in its header."""
    at = next(begin for code, begin in markers(payload) if code in SIZES_OF_HEADER) + 5
    return payload[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + payload[at + 4 :]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1400, 1400), (96, 64), (80, 80)])
def test_header_that_states_a_larger_picture_is_damage(kind, mode, size):
    payload = with_size(encoded(noise(80, 64).convert(mode), "JPEG", **KINDS[kind]), *size)
    stated = "has data for fewer than {} x {} pixels".format(*size)
    with pytest.raises(UndecodableImage, match=stated):
        open_rgb(payload, SPEC, LIMITS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trailer", [b"", b"\xff\xd8 a film, or a thumbnail"])
def test_complete_picture_that_ends_in_grey_is_read(kind, mode, trailer):
    image = noise(80, 64).convert(mode)
    for box in [(40, 32, 80, 64), (0, 0, 80, 64)]:
        image.paste(
            Image.new(mode, image.size, {"RGB": (128,) * 3, "L": 128, "CMYK": (127,) * 4}[mode]), box[:2]
        )
        payload = encoded(image, "JPEG", **KINDS[kind])
        assert np.asarray(open_rgb(payload + trailer, SPEC, LIMITS)).shape == (64, 80, 3)
