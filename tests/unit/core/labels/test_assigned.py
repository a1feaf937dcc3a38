"""What a definition gives vectors, and how parts of it are put together."""

from typing import Any

import numpy as np

from diptych.core.labels import assigned
from diptych.core.labels.assigned import Assigner, joined
from diptych.core.labels.label_set import Definition, Label

UNIT = np.eye(40, dtype=np.float32)


def assigner(kind: Any = "one", min_score: float | None = None, n: int = 3, rows: Any = None) -> Assigner:
    """Scores are the cosines themselves."""
    definition = Definition(tuple(Label(str(label)) for label in range(n)), kind, min_score=min_score)
    return Assigner(
        definition, UNIT[:n] if rows is None else rows, lambda images, rows: (images @ rows.T,) * 2
    )


def images(*cosines: list[float]) -> Any:
    found = np.zeros((len(cosines), len(UNIT)), np.float32)
    for row, values in zip(found, cosines, strict=True):
        row[: len(values)] = values
    return found


def test_best_label_is_given_unless_it_is_below_the_threshold() -> None:
    found = assigner(min_score=0.5).assign(
        [3, 5, 9], images([0.1, 0.9, 0.2], [0.4, 0.1, 0.3], [0.6, 0.55, 0])
    )
    assert (found.of.tolist(), found.labels.tolist()) == ([3, 9], [1, 0])
    assert found.best.tolist() == [1, 0, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.4, 0.6], atol=1e-6)
    np.testing.assert_allclose(found.margins, [0.4, 0.1, 0.05], atol=1e-6)


def test_many_labels_are_given_best_first() -> None:
    found = assigner("many").assign([1, 2], images([0.6, 0.9, 0.1], [0.4, 0.2, 0.3]))
    assert (found.of.tolist(), found.labels.tolist()) == ([1, 1], [1, 0])
    np.testing.assert_allclose(found.margins, [0.1, 0.1], atol=1e-6)


def test_image_has_no_more_labels_than_the_limit() -> None:
    cosines = np.linspace(0.5, 0.9, 40).tolist()
    found = assigner("many", n=40).assign([1], images(cosines))
    assert found.labels.tolist() == list(range(39, 39 - assigned.MAX_OF_AN_IMAGE, -1))


def test_single_label_needs_no_other() -> None:
    found = assigner(n=1).assign([1], images([0.7]))
    assert (found.labels.tolist(), found.margins.tolist()) == ([0], [np.float32(0.7)])


def test_small_parts_make_the_same_as_one(monkeypatch: Any) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, len(UNIT))).astype(np.float32)
    whole = assigner("many", 0.2).assign(range(50), rows)
    monkeypatch.setattr(assigned, "MAX_CELLS", 7)
    for name, part in vars(assigner("many", 0.2).assign(range(50), rows)).items():
        np.testing.assert_array_equal(part, getattr(whole, name))


def test_images_are_taken_out_and_put_in_by_key() -> None:
    one = assigner("many").assign([1, 5], images([0.9, 0.8, 0], [0, 0, 0.7]))
    other = assigner("many").assign([3], images([0, 0.6, 0]))
    found = joined([one.without(np.array([5])), other])
    assert (found.keys.tolist(), found.of.tolist(), found.labels.tolist()) == ([1, 3], [1, 1, 3], [0, 1, 1])


def test_labels_that_are_hardly_separated_are_found(monkeypatch: Any) -> None:
    near = UNIT[:4].copy()
    near[3] = [*(np.array([0.99, 0, np.sqrt(1 - 0.99**2)])), *[0] * 37]
    assert [(i, j) for i, j, _ in assigner(n=4, rows=near).alike()] == [(0, 3)]
    monkeypatch.setattr(assigned, "MAX_CELLS", 4)  # a row at a time
    assert [(i, j) for i, j, _ in assigner(n=4, rows=near).alike()] == [(0, 3)]
    monkeypatch.setattr(assigned, "MAX_ALIKE", 2)
    assert len(assigner(n=4, rows=UNIT[[0, 0, 0, 0]]).alike()) == 2
