"""JPEG files decoded at a fraction of their size: effects on pixels, orientation and limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diptych.bundle.image.decode import decode_scaled
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.errors import TooLarge
from support.bundle_examples import image_spec, noise
from support.pictures import encoded

LIMITS = ImageLimits()
MODES = ("shortest", "longest", "squash")
FORMATS = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {}, "GIF": {}, "AVIF": {}}
ORIENTATION = 0x0112  # EXIF tag
JPEG_NOISE = 6  # gray levels by which the two methods may differ on smooth pictures


def smooth(width, height):
    """Return a picture whose four corners all differ."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    channels = np.stack([x, y, (x + 2 * y) / 3], axis=-1)
    return Image.fromarray(channels.astype(np.uint8))


def jpeg(width, height, turn=1):
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    return encoded(smooth(width, height), "JPEG", quality=95, exif=exif)


def scaled(payload, at_least):
    return decode_scaled(payload, LIMITS, lambda image: image.convert("RGB"), None, lambda *_: at_least)


@pytest.mark.parametrize(
    ("at_least", "size"),
    [((320, 240), (320, 240)), ((321, 240), (640, 480)), ((160, 100), (160, 120)), ((9, 9), (80, 60))],
)
def test_jpeg_is_decoded_to_the_smallest_fraction_that_is_enough(at_least, size):
    decoded = scaled(jpeg(640, 480), at_least)
    assert (decoded.image.size, decoded.width, decoded.height) == (size, 640, 480)


def test_what_is_enough_is_asked_of_the_upright_picture():
    asked = []

    def needed(width, height):
        asked.append((width, height))
        return 240, 320

    decoded = decode_scaled(jpeg(640, 480, turn=6), LIMITS, lambda image: image.convert("RGB"), None, needed)
    assert asked == [(480, 640)]
    assert (decoded.image.size, decoded.width, decoded.height) == ((240, 320), 480, 640)


@pytest.mark.parametrize("resize_mode", MODES)
@pytest.mark.parametrize("turn", range(1, 9))
def test_fast_shows_the_same_part_of_the_picture_in_every_orientation(turn, resize_mode):
    spec = image_spec(resize_mode=resize_mode)
    payload = jpeg(301, 199, turn)
    exact = load_pixels(payload, spec, LIMITS).astype(int)
    fast = load_pixels(payload, spec, LIMITS, "fast").astype(int)
    assert (fast != exact).any()  # the two methods do differ
    assert np.abs(fast - exact).max() <= JPEG_NOISE


@pytest.mark.parametrize("name", FORMATS)
def test_fast_changes_nothing_in_other_formats(name):
    payload = encoded(noise(301, 199), name, **FORMATS[name])
    np.testing.assert_array_equal(
        load_pixels(payload, image_spec(), LIMITS, "fast"), load_pixels(payload, image_spec(), LIMITS)
    )


def test_fast_changes_nothing_in_a_jpeg_below_twice_the_models_size():
    payload = encoded(noise(63, 63), "JPEG")
    np.testing.assert_array_equal(
        load_pixels(payload, image_spec(size=32), LIMITS, "fast"),
        load_pixels(payload, image_spec(size=32), LIMITS),
    )


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(MODES), st.sampled_from(["round", "floor"]))
def test_fast_makes_pixels_of_every_size(width, height, resize_mode, crop):
    spec = image_spec(size=16, resize_mode=resize_mode, crop=crop)
    pixels = load_pixels(encoded(Image.new("RGB", (width, height)), "JPEG"), spec, LIMITS, "fast")
    assert (pixels.shape, pixels.dtype) == ((16, 16, 3), np.uint8)


def test_fast_keeps_the_limits():
    payload = encoded(Image.new("RGB", (1, 30000)), "JPEG")
    with pytest.raises(TooLarge, match="once resized"):
        load_pixels(payload, image_spec(size=224), LIMITS, "fast")
