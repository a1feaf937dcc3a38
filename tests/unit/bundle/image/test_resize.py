"""A resize in parts gives the same bytes as a whole one, for every shape and filter."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diptych.bundle.image import resize as resize_module
from diptych.bundle.image.geometry import place
from diptych.bundle.image.resize import ALONE, Part, Sharing, resize
from diptych.bundle.manifest import ImageSpec
from support.bundle_examples import image_spec, noise

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
MODES = ("shortest", "longest", "squash")
FILL = (1, 2, 3)


def whole(image: Image.Image, spec: ImageSpec) -> NDArray[np.uint8]:
    """Resize with one call of Pillow, then crop and pad."""
    placement = place(*image.size, spec)
    resized = image.resize((placement.width, placement.height), Image.Resampling[spec.interpolation.upper()])
    canvas = Image.new("RGB", (spec.size, spec.size), spec.fill_color)
    canvas.paste(resized, (placement.left, placement.top))
    return np.asarray(canvas)


class Threads:
    """Three threads that record the number of parts they are given."""

    def __init__(self) -> None:
        self.n_parts: list[int] = []
        self._pool = ThreadPoolExecutor(3)

    def run(self, parts: Sequence[Part]) -> None:
        self.n_parts.append(len(parts))
        for future in [self._pool.submit(part) for part in parts]:
            future.result()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    monkeypatch.setattr(resize_module, "MIN_SHARED_PX", 0)
    monkeypatch.setattr(resize_module, "BAND_PX", 500)
    monkeypatch.setattr(resize_module, "BAND_ROWS", 1)
    return Threads()


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("resize_mode", MODES)
@pytest.mark.parametrize("crop", ["round", "floor"])
def test_parts_give_the_bytes_of_the_whole(
    interpolation: str, resize_mode: str, crop: str, threads: Threads
) -> None:
    rng = random.Random(f"{interpolation} {resize_mode} {crop}")
    for _ in range(60):
        width, height = (int(2 ** rng.uniform(0, 7.5)) for _ in "wh")
        spec = image_spec(
            size=rng.choice([7, 16, 24, 32]),
            interpolation=interpolation,
            resize_mode=resize_mode,
            fill_color=FILL,
            crop=crop,
        )
        image = noise(width, height)
        expected = whole(image, spec)
        for sharing in (ALONE, Sharing(3, threads.run)):
            found = resize(image, place(width, height, spec), spec, sharing)
            np.testing.assert_array_equal(found, expected, err_msg=f"{width} x {height} to {spec.size}")


SIZES = [
    *((1, 3_000), (3_000, 1), (2, 500), (500, 2), (1, 1), (480, 640), (640, 480)),
    *((100, 200), (100, 201), (101, 200), (64, 96)),  # as many rows fewer as Pillow takes first, or nearly so
]


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", SIZES)
def test_strips_and_photographs_give_the_bytes_of_the_whole(
    size: tuple[int, int], interpolation: str, threads: Threads
) -> None:
    image = noise(*size)
    for resize_mode in MODES:
        spec = image_spec(size=32, interpolation=interpolation, resize_mode=resize_mode, fill_color=FILL)
        found = resize(image, place(*size, spec), spec, Sharing(3, threads.run))
        np.testing.assert_array_equal(found, whole(image, spec))


def test_photograph_is_shared_by_rows_and_then_by_columns(threads: Threads) -> None:
    spec = image_spec(size=32, interpolation="bicubic", resize_mode="shortest")
    resize(noise(64, 48), place(64, 48, spec), spec, Sharing(3, threads.run))
    assert threads.n_parts == [7, 3]  # 64 x 48 are seven bands of at most 500 pixels


def test_small_picture_wakes_no_thread() -> None:
    def never(_parts: Sequence[Part]) -> None:
        raise AssertionError("it is done in less time than it takes to wake a thread")

    spec = image_spec(size=32, interpolation="bicubic", resize_mode="shortest")
    resize(noise(64, 48), place(64, 48, spec), spec, Sharing(3, never))
