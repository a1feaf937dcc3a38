"""Pixel floors: the label of the nearest training image."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

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


def test_floor_is_the_share_of_images_whose_nearest_training_image_of_a_class_has_their_label(
    tmp_path: Path,
) -> None:
    images = drawings(4, seed=0)
    far_sea = images[2:3] // 2 + drawings(1, seed=1) // 2
    dataset = write(
        tmp_path,
        {
            "old": ("train", np.concatenate([images, far_sea]), ["sun", "moon", "no class", "star", "sea"]),
            "new": ("eval", images // 2 + 60, ["sun", "moon", "sea", "sun"]),
        },
    )
    done: list[int] = []

    assert pixel_floors(dataset, dataset.sources("eval"), done.append) == {"new": 0.75}
    assert sum(done) == 4


@pytest.mark.parametrize(
    ("sources", "floors"),
    [
        ({"old": ("train", drawings(2, seed=0), ["a", "b"])}, {"new": 0.0}),
        ({}, {}),
    ],
    ids=["none of a class", "none at all"],
)
def test_floor_without_training_images(
    tmp_path: Path, sources: dict[str, tuple[Split, Images, list[str]]], floors: dict[str, float]
) -> None:
    dataset = write(tmp_path, sources | {"new": ("eval", drawings(2, seed=0), ["c", "d"])})

    assert pixel_floors(dataset, dataset.sources("eval"), lambda _: None) == floors
