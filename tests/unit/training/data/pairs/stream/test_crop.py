"""Random crops of photographs, by their boxes and in batches of pairs."""

import io

import numpy as np
import pytest
from PIL import Image

from diptych.bundle.image.preprocess import ImageLimits
from diptych_training.data.pairs.stream.crop import Crop, load_crop
from support.tiny_run import tiny_image_spec

WIDTH, HEIGHT = 120, 80
SIDE_BY_SIDE = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
SIDE_BY_SIDE[:, :, 0] = np.linspace(0, 255, WIDTH).astype(np.uint8)  # red tells where a pixel was


def boxes(crop: Crop, n: int = 200) -> list[tuple[int, int, int, int]]:
    rng = np.random.default_rng(0)
    return [crop.box(WIDTH, HEIGHT, rng) for _ in range(n)]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_square_crop_has_the_whole_shorter_side_anywhere_on_the_longer_one():
    found = boxes(Crop("square", (0.9, 1.0)))
    assert {(upper, lower, right - left) for left, upper, right, lower in found} == {(0, HEIGHT, HEIGHT)}
    assert {left for left, *_ in found} == set(range(WIDTH - HEIGHT + 1))


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.0), (0.2, 0.5)])
def test_a_resized_crop_has_its_share_of_the_area_and_is_inside_the_image(low, high):
    for left, upper, right, lower in boxes(Crop("resized", (low, high))):
        assert 0 <= left < right <= WIDTH
        assert 0 <= upper < lower <= HEIGHT
        is_square = right - left == lower - upper == HEIGHT  # of all shapes drawn none fitted
        share = (right - left) * (lower - upper) / (WIDTH * HEIGHT)
        assert is_square or low - 0.02 <= share <= high + 0.02
        assert is_square or 0.7 < (right - left) / (lower - upper) < 1.4


@pytest.mark.parametrize("kind", ["square", "resized"])
def test_a_crop_has_the_size_of_the_model_and_follows_from_its_seed(kind):
    spec, crop = tiny_image_spec(), Crop(kind, (0.3, 0.6))
    one, again, other = (load_crop(png(SIDE_BY_SIDE), spec, ImageLimits(), crop, seed) for seed in (1, 1, 2))
    assert one.shape == (spec.size, spec.size, 3)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.all(np.diff(one[0, :, 0].astype(int)) >= 0)  # still from left to right
