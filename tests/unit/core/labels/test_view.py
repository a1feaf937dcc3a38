"""A person's word in the place of the model's."""

import numpy as np

from diptych.core.labels.assigned import Assigned
from diptych.core.labels.label_set import Definition, Label, LabelSet, Verdict
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
    return LabelView(label_set, Assigned(keys, labels, scores, scores, keys, labels), None, said)  # type: ignore[arg-type]


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
