"""Stored evaluations, their means, tables and picture."""

import pytest

from diptych_training.data.packed import (
    Kind,
)
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
