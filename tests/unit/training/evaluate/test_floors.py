"""Pixel floors: the label of the nearest training image."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from diptych_training.data.colour_grid import colour_grids
from diptych_training.data.packed import (
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    read_dataset,
    write_index,
    write_source,
)
from diptych_training.evaluate.floors import pixel_floors

Images = NDArray[np.uint8]


def drawings(n: int, seed: int) -> Images:
    cells = np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    return cells.repeat(2, axis=1).repeat(2, axis=2)


def write(path: Path, sources: dict[str, tuple[Split, Images, list[str]]]) -> PackedDataset:
    entries = {}
    for name, (split, images, labels) in sources.items():
        items = [PackedItem(id=str(index), label=label) for index, label in enumerate(labels)]
        write_source(path, split, name, images, items)
        entries[name] = SourceEntry(
            split=split, kind="icons", n=len(items), licence="MIT", author="nobody", recipe="0" * 64
        )
    write_index(PackedDataset(path, "drawings", 32, entries))
    return read_dataset(path)


def test_floor_is_the_share_of_images_whose_nearest_training_image_has_their_label(tmp_path: Path) -> None:
    images = drawings(4, seed=0)
    dataset = write(
        tmp_path,
        {
            "old": ("train", images, ["sun", "moon", "wrong", "star"]),
            "new": ("eval", images // 2 + 60, ["sun", "moon", "sea", "star"]),
        },
    )
    done: list[int] = []

    floors = pixel_floors(dataset, dataset.sources("eval"), done.append)

    # The third image's nearest shows no class of the set, so the nearest of the others answers, wrongly.
    assert floors == {"new": 0.75}
    assert sum(done) == 4


def test_a_set_without_a_class_of_the_training_data_has_floor_zero(tmp_path: Path) -> None:
    images = drawings(2, seed=0)
    dataset = write(tmp_path, {"old": ("train", images, ["a", "b"]), "new": ("eval", images, ["c", "d"])})

    assert pixel_floors(dataset, dataset.sources("eval"), lambda _: None) == {"new": 0.0}


def test_there_is_no_floor_without_training_images(tmp_path: Path) -> None:
    dataset = write(tmp_path, {"new": ("eval", drawings(1, seed=0), ["c"])})

    assert pixel_floors(dataset, dataset.sources("eval"), lambda _: None) == {}


def test_colour_grids_ignore_brightness_and_contrast_and_stay_finite_on_blank_images() -> None:
    image = drawings(1, seed=1)

    assert colour_grids(image // 2 + 30)[0] == pytest.approx(colour_grids(image)[0], abs=0.01)
    assert not colour_grids(np.full((1, 32, 32, 3), 255, np.uint8)).any()
