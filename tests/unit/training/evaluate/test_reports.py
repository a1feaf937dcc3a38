"""Stored evaluations, their means, tables and picture."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from diptych_training.data.packed import (
    Kind,
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    read_dataset,
    write_index,
    write_source,
)
from diptych_training.evaluate.floors import pixel_floors
from diptych_training.evaluate.results import Evaluation, Scores, SourceResult


def scores(top1: float, n_images: int = 10) -> Scores:
    zero_shot, recalls = {1: top1, 5: 0.9}, {1: top1 / 2, 5: top1, 10: 1.0}
    return Scores(n_images=n_images, zero_shot=zero_shot, text_to_image=recalls, image_to_text=recalls)


def result(
    source: str, kind: Kind, top1: float, *, far: float | None = None, floor: float | None = 0.1
) -> SourceResult:
    return SourceResult(
        source=source,
        kind=kind,
        n_classes=12,
        pixel_floor=floor,
        all=scores(top1),
        far=None if far is None else scores(far, 4),
    )


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        model="tiny/1 (fp32)",
        runtime="torch",
        dataset="pictograms",
        split="eval",
        templates=("{}",),
        sources=(
            result("style-a", "emoji", 0.2, far=0.1),
            result("style-b", "emoji", 0.4),
            result("set-a", "icons", 0.5, far=0.3, floor=None),
        ),
    )


def test_means_count_each_source_once(evaluation: Evaluation) -> None:
    means = evaluation.means()

    assert means["emoji"].all.zero_shot[1] == pytest.approx(0.3)
    assert means["emoji"].all.n_images == 20
    assert means["emoji"].far is not None
    assert means["emoji"].far.zero_shot[1] == pytest.approx(0.1)


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
