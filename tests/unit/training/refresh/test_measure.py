"""What was measured of a mix: which held-out pictures turned right, and which turned wrong."""

from typing import Any

from diptych_training.refresh.evaluation.evaluate import Choice
from diptych_training.refresh.measure import Measured
from support.picture_sets import write_pictures
from support.reports import evaluation


def measured(folder, own: dict[float, int | None]) -> Measured:
    labels = [f"thing {index}" for index in range(100)]
    pictures = write_pictures(folder / "mine", {"held": ("validation", "pairs", labels)})
    unused: Any = None
    return Measured(
        tuned=unused,
        old=unused,
        own=pictures,
        shipped=unused,
        evaluation=evaluation(own, dict.fromkeys(own, 80)),
        choice=Choice(0.5, True, "given", 0.0, 3.0),
        changes=unused,
    )


def test_held_out_pictures_that_turned_right_and_wrong_are_named(tmp_path):
    assert measured(tmp_path / "more", {0: 20, 0.5: 23}).gained_and_lost == (
        ["held-20", "held-21", "held-22"],
        [],
    )
    assert measured(tmp_path / "less", {0: 20, 0.5: 18}).gained_and_lost == ([], ["held-18", "held-19"])


def test_without_held_out_pictures_none_is_named(tmp_path):
    assert measured(tmp_path, {0: None, 0.5: None}).gained_and_lost == ([], [])
