"""A person's word in the place of the model's."""

from typing import Any

import numpy as np
import pytest

from diptych.core.labels.assigned import Assigned, Assigner
from diptych.core.labels.label_set import Definition, Label, LabelSet, Verdict
from diptych.core.labels.ports import Reviewed
from diptych.core.labels.view import LabelView

NAMES = ("cat", "dog")


def view(
    verdicts: dict[int, tuple[str, ...]], drawn: tuple[int, ...] = (), sha256: str | None = None
) -> LabelView:
    """The model says that 1 is a cat and 5 a dog."""
    label_set = LabelSet(1, "kind", Definition(tuple(map(Label, NAMES))), 1, "2024-05-01T00:00:00Z")
    scores = np.array([0.9, 0.8], np.float32)
    keys, labels = np.array([1, 5], np.int64), np.array([0, 1], np.int32)
    said = {
        key: Verdict(labels, "ann", "2024-05-02T00:00:00Z", sha256 or str(key), key in drawn)
        for key, labels in verdicts.items()
    }
    assigned = Assigned(keys, labels, scores, scores, keys, labels, scores)
    return LabelView(Reviewed(label_set, said, 0), assigned, None)  # type: ignore[arg-type]


def test_word_of_a_person_replaces_that_of_the_model() -> None:
    found = view({5: ("cat",)})
    assert found.keys_of(["cat"]).tolist() == [1, 5]
    assert found.keys_of(["dog"]).tolist() == []
    assert list(found.judged()) == [(("cat",), ("dog",))]


def test_word_of_a_person_counts_where_the_model_has_no_vector() -> None:
    found = view({3: ("cat",), 7: ()})
    assert found.keys_of(["cat"]).tolist() == [1, 3]
    assert found.keys_of([None]).tolist() == [7]
    assert found.assignments([3])[3].labels == ("cat",)
    assert sorted(found.assignments([9, 0, 5, 3, 4])) == [3, 5]
    assert found.assignments([]) == {}
    assert (found.n_images, found.n_reviewed, found.counts()) == (4, 2, [2, 1])
    assert list(found.judged()) == []
    assert found.uncertain(None)[1].tolist() == [5, 1]


def test_images_with_the_same_bytes_are_judged_once() -> None:
    found = view({1: ("cat",), 5: ("cat",)}, sha256="ab")
    assert (found.n_reviewed, found.n_pictures_reviewed) == (2, 1)
    assert len(list(found.judged())) == 1


def test_only_drawn_pictures_are_judged_when_asked_for() -> None:
    found = view({1: ("dog",), 5: ("dog",)}, drawn=(5,))
    assert len(list(found.judged())) == 2
    assert list(found.judged(drawn_only=True)) == [(("dog",), ("dog",))]


SCORES = np.random.default_rng(1).random((60, 5), np.float32)


def scored(
    kind: Any,
    power: int = 1,
    n_drawn: int = 60,
    *,
    min_score: float | None = None,
    precision: float | None = None,
) -> LabelView:
    """Images whose scores are SCORES to a power, as of another version; those above 0.7 are right."""
    definition = Definition(tuple(map(Label, "abcde")), kind, min_score=min_score, precision=precision)
    assigner = Assigner(definition, np.eye(5, dtype=np.float32), lambda rows, _: (rows, rows**power))
    verdicts = {
        key: Verdict(tuple(np.array(list("abcde"))[SCORES[key] > 0.7].tolist()), "ann", "", str(key), True)
        for key in range(n_drawn)
    }
    label_set = LabelSet(1, "kind", definition, 1, "")
    reviewed = Reviewed(label_set, verdicts, 0)
    return LabelView(reviewed, assigner.assign(range(60), SCORES), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["one", "many"])
def test_fitted_threshold_gives_what_the_same_min_score_gives(kind: Any) -> None:
    fitted = scored(kind, precision=0.9)
    assert fitted.threshold.min_score > 0
    same = scored(kind, min_score=fitted.threshold.min_score)
    assert list(fitted.judged()) == list(same.judged())
    expected = same.assignments(range(60))
    for key, found in fitted.assignments(range(60)).items():
        assert found.proposed == expected[key].proposed
        assert found.margin == pytest.approx(expected[key].margin, abs=1e-6)


@pytest.mark.parametrize("kind", ["one", "many"])
def test_another_version_has_a_threshold_of_its_own(kind: Any) -> None:
    one, other = (scored(kind, power, precision=0.9) for power in (1, 3))
    assert other.threshold.min_score == pytest.approx(one.threshold.min_score**3)
    assert other.threshold.right == one.threshold.right


@pytest.mark.parametrize("kind", ["one", "many"])
def test_default_threshold_stands_until_enough_pictures_are_drawn(kind: Any) -> None:
    found, default = scored(kind, n_drawn=19, precision=0.9), scored(kind, n_drawn=19)
    assert (found.threshold, list(found.judged())) == (default.threshold, list(default.judged()))
    assert scored(kind, n_drawn=20, precision=0.9).threshold.fitted_on == 20
