"""Searches and pictures that changed most between two models: by hand, and between two tiny runs."""

import numpy as np
import pytest

from diptych_training.checkpoint import load_run
from diptych_training.refresh.evaluation.changes import (
    changed_pictures,
    changed_searches,
    find_changes,
)
from diptych_training.refresh.evaluation.evaluate import evaluate_mixes, fixed_choice
from diptych_training.refresh.evaluation.mixes import Mixes
from diptych_training.refresh.evaluation.view import LabelledView, Picture, View
from support.picture_sets import write_pictures
from support.tiny_run import TINY_VIT, write_tiny_run

LABELS = ("moon", "star", "sun")
PICTURES = tuple(Picture(set="own", source="mine", index=i, label=label) for i, label in enumerate(LABELS))
RIGHT = np.eye(3, dtype=bool)
SCALE = 10.0


def view(similarity: list[list[float]]) -> View:
    """Three pictures against their three labels (rows); searches are the same cosines the other way round."""
    cosines = np.array(similarity, dtype=np.float32)
    return View(
        queries=LABELS,
        pictures=PICTURES,
        similarity=cosines.T,
        relevant=RIGHT,
        sets=(LabelledView(LABELS, PICTURES, cosines, RIGHT, SCALE),),
    )


BEFORE = view([[0.9, 0.2, 0.1], [0.8, 0.5, 0.7], [0.7, 0.1, 0.2]])
AFTER = view([[0.3, 0.6, 0.1], [0.2, 0.9, 0.3], [0.5, 0.1, 0.4]])


def test_searches_are_ordered_by_the_change_of_the_inverse_rank():
    # Ranks of the right picture, before: moon 1, star 1, sun 2. After: moon 2 (behind sun), star 1, sun 1.
    gained, lost = changed_searches(BEFORE, AFTER)

    assert [(one.query, one.rank_before, one.rank_after) for one in gained] == [("sun", 2, 1)]
    assert [(one.query, one.rank_before, one.rank_after) for one in lost] == [("moon", 1, 2)]
    assert [found.picture.label for found in lost[0].before] == ["moon", "star", "sun"]
    assert [(found.picture.label, found.is_right) for found in lost[0].after] == [
        ("sun", False), ("moon", True), ("star", False),
    ]  # fmt: skip


def test_pictures_that_turned_right_or_wrong_have_both_answers_and_the_new_margin():
    gained, lost = changed_pictures(BEFORE, AFTER)

    # The star was taken for the moon, the moon is taken for a star; the sun was wrong and is.
    assert [(one.picture.label, one.before.label, one.after.label) for one in gained] == [
        ("star", "moon", "star")
    ]
    assert [(one.picture.label, one.before.label, one.after.label) for one in lost] == [
        ("moon", "moon", "star")
    ]
    assert gained[0].margin == pytest.approx(0.6)
    assert lost[0].margin == pytest.approx(0.3)
    exponentials = np.exp(SCALE * np.array([0.2, 0.9, 0.3]))
    assert gained[0].after.probability == pytest.approx(exponentials[1] / exponentials.sum(), rel=1e-5)


def test_the_widest_margin_is_first_and_a_pair_of_labels_is_shown_once():
    n = 4
    pictures = tuple(Picture(set="shipped", source="a", index=i, label="moon") for i in range(n))
    relevant = np.array([[True, False, False]] * n)

    def seen(rows: list[list[float]]) -> View:
        cosines = np.array(rows, dtype=np.float32)
        labelled = LabelledView(LABELS, pictures, cosines, relevant, SCALE)
        return View(LABELS, pictures, cosines.T, relevant.T, (labelled,))

    before = seen([[0.9, 0, 0]] * n)
    after = seen([[0.1, 0.2, 0], [0.1, 0.5, 0], [0.1, 0.2, 0.3], [0.9, 0.2, 0]])

    _, lost = changed_pictures(before, after)

    assert [(one.picture.index, one.after.label) for one in lost] == [(1, "star"), (2, "sun")]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    run = load_run(write_tiny_run(folder / "mine", image=TINY_VIT))
    old = dict(load_run(write_tiny_run(folder / "old", image=TINY_VIT, seed=1)).model.state_dict())
    names = [f"thing {index}" for index in range(20)]
    own = write_pictures(
        folder / "own",
        {"held-out": ("validation", "pairs", ["red star", "moon"]), "learned": ("train", "pairs", ["sun"])},
    )
    proof = {"emoji": ("validation", "emoji", names), "icons": ("validation", "icons", names)}
    return run, old, own, write_pictures(folder / "proof", proof, seed=1)


def test_changes_between_two_runs_agree_with_what_was_judged(parts):
    run, old, own, shipped = parts
    embedded: list[int] = []

    mixes = Mixes(run, old, own, shipped)
    changes = find_changes(mixes, 1, advance=embedded.append)
    assert sum(embedded) == 2 * mixes.n_pictures
    evaluation = evaluate_mixes(mixes, [1], advance=embedded.append)

    assert sum(embedded) == 2 * mixes.n_pictures  # each picture once
    assert mixes.n_to_embed((0, 0.5, 1)) == mixes.n_pictures
    assert (changes.inputs, changes.alpha) == (evaluation.inputs, 1)
    assert {one.query for one in changes.searches} == {"red star", "moon", "sun"}
    assert {one.rank_after for one in changes.searches if one.query == "sun"} == {None}
    assert all(len(one.before) == len(one.after) == 5 for one in changes.searches)
    difference, own = evaluation.shipped_difference(1), fixed_choice(evaluation, 1, "given", 3).own
    assert own is not None
    assert len(changes.gained_pictures) <= difference.n_gained + own.difference.n_gained
    assert bool(changes.lost_pictures) == bool(difference.n_lost + own.difference.n_lost)
