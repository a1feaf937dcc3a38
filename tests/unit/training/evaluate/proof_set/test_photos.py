"""The images that an import is proven on."""

import numpy as np
import pytest
from PIL import Image

from diptych_training.evaluate.proof_set.photos import MIN_SIDE_PX, PhotoVariants, photographs

N = 300


@pytest.fixture(scope="module")
def variants() -> list[Image.Image]:
    photos = PhotoVariants(photographs(), seed=0)
    return [photos[index] for index in range(N)]


def test_every_photograph_is_on_disk_and_has_captions() -> None:
    listed = photographs()

    assert len(listed) >= 20
    assert all(photograph.path.is_file() and len(photograph.captions) >= 3 for photograph in listed)
    assert sum(photograph.free for photograph in listed) >= 8


def test_variant_n_is_always_the_same_image(variants: list[Image.Image]) -> None:
    again = PhotoVariants(photographs(), seed=0)

    assert all(np.array_equal(again[index], variants[index]) for index in (0, 57, 299))


def test_two_seeds_never_agree_on_a_variant(variants: list[Image.Image]) -> None:
    other = PhotoVariants(photographs(), seed=1)

    assert not any(np.array_equal(other[index], variants[index]) for index in range(40))


def test_sizes_go_from_tiny_to_large_and_shapes_to_strips(variants: list[Image.Image]) -> None:
    longest = [max(image.size) for image in variants]
    aspects = [max(image.size) / min(image.size) for image in variants]

    assert min(longest) < 32
    assert 1000 < max(longest) <= 1500
    assert max(aspects) > 20
    assert np.median(aspects) < 2
    assert min(min(image.size) for image in variants) >= MIN_SIDE_PX
    assert {min(image.size) % 4 for image in variants} == {0, 1, 2, 3}


def test_all_are_rgb_some_are_gray_and_some_have_few_colours(variants: list[Image.Image]) -> None:
    gray = [image.getchannel("R") == image.getchannel("B") for image in variants]
    few = [image.getcolors(64) is not None for image in variants]

    assert {image.mode for image in variants} == {"RGB"}
    assert 0.1 < np.mean(gray) < 0.8
    assert np.mean(few) > 0.05


def test_the_size_can_be_bounded() -> None:
    photos = PhotoVariants(photographs(), seed=2, max_side_px=200)

    assert max(max(photos[index].size) for index in range(60)) == 200
