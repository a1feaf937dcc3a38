"""What was measured of a mix: which held-out pictures turned right, and which turned wrong."""

from dataclasses import replace
from typing import Any

import numpy as np

from diptych_training.refresh.evaluation.evaluate import choose_alpha, fixed_choice
from diptych_training.refresh.measure import Measured
from support.picture_sets import write_pictures
from support.reports import evaluation


def measured(folder, own: dict[float, int | None]) -> Measured:
    labels = [f"thing {index}" for index in range(100)]
    pictures = write_pictures(folder / "mine", {"held": ("validation", "pairs", labels)})
    unused: Any = None
    found = evaluation(own, dict.fromkeys(own, 80))
    return Measured(
        tuned=unused,
        old=unused,
        own=pictures,
        shipped=unused,
        evaluation=found,
        choice=fixed_choice(found, 0.5, "given", 3.0),
        changes=unused,
    )


def test_held_out_pictures_that_turned_right_and_wrong_are_named(tmp_path):
    assert measured(tmp_path / "more", {0: 20, 0.5: 23}).gained_and_lost == (
        ["held-20", "held-21", "held-22"],
        [],
    )
    assert measured(tmp_path / "less", {0: 20, 0.5: 18}).gained_and_lost == ([], ["held-18", "held-19"])


def test_as_many_are_named_as_the_first_lines_count(tmp_path):
    hits = np.random.default_rng(0).random((3, 100)) < 0.5
    own = {alpha: row.tolist() for alpha, row in zip((0.0, 0.5, 1.0), hits, strict=True)}
    found = evaluation(own, dict.fromkeys(own, 80))
    choice = choose_alpha(found)

    gained, lost = replace(
        measured(tmp_path, {0: 20, 0.5: 23}), evaluation=found, choice=choice
    ).gained_and_lost

    assert len(set(choice.own_alphas)) > 1
    assert choice.own is not None
    assert (len(gained), len(lost)) == (choice.own.difference.n_gained, choice.own.difference.n_lost)


def test_without_held_out_pictures_none_is_named(tmp_path):
    assert measured(tmp_path, {0: None, 0.5: None}).gained_and_lost == ([], [])
