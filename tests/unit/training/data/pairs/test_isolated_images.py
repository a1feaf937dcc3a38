"""Pairs whose images are decoded in another process: a decoder that dies costs its own pair."""

import io

import numpy as np
from PIL import Image

from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych_training.data.pairs.image_files import ImageCheck, plain_spec, run_isolated
from diptych_training.data.pairs.pair import Pair, Texts, Unusable
from support.hostile.containers import encoded, scene
from support.hostile.corpus import corpus

LIMITS = ImageLimits()
DEADLY = next(entry.payload for entry in corpus() if entry.name == "heic, item of which the decoder dies")


def pair(image: bytes) -> Pair:
    return Pair("a/1", image, Texts(("a text",)))


def test_image_of_which_the_decoder_dies_is_unusable_and_the_next_is_used() -> None:
    check = ImageCheck(plain_spec(), LIMITS)
    found = check(pair(DEADLY))
    assert isinstance(found, Unusable)
    assert "the image decoder crashed" in found.reason
    intact = pair(encoded(scene(), "TIFF"))
    assert check(intact) == intact


def test_image_is_the_one_that_this_process_would_decode() -> None:
    spec, file = plain_spec(32), encoded(scene(300, 200), "AVIF")
    pixels = run_isolated(load_pixels, file, spec, LIMITS)
    np.testing.assert_array_equal(pixels, load_pixels(file, spec, LIMITS))
    smaller = ImageCheck(spec, LIMITS, size_px=100)(pair(file))
    assert isinstance(smaller, Pair)
    with Image.open(io.BytesIO(smaller.image)) as image:
        assert (image.format, image.size) == ("JPEG", (150, 100))
