"""How far two versions agree with what people said of images."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diptych.core.collections.upkeep.reembed import NoPause
from diptych.core.labels.label_set import Definition, Label, LabelSet, Verdict
from diptych.core.labels.ports import Reviewed
from diptych.core.rollout.compared_labels import LabelComparer, compared, sign_test
from diptych.core.rollout.comparison import ComparedLabels
from diptych.errors import Overloaded

CAT, DOG = np.eye(2, dtype=np.float32)  # vectors of images, and of the labels


class Classifier:
    """Knows the two labels. `is_full`: it is overloaded once."""

    def __init__(self, *prompts: str, is_full: bool = False) -> None:
        self.prompts = dict.fromkeys(prompts, ("{}",))
        self._is_full = is_full

    async def classifier(self, texts: Any, templates: Any) -> Any:
        if self._is_full:
            self._is_full = False
            raise Overloaded("the queue is full", retry_after_s=0)
        return SimpleNamespace(rows=np.stack([CAT, DOG]))

    async def scorer(self, templates: Any, *, multi_label: bool) -> Any:
        return lambda rows, labels: (rows @ labels.T, rows @ labels.T)


def side(classifier: Classifier, identity: str) -> Any:
    """The vectors of one side, as far as labels need them."""
    version = SimpleNamespace(classifier=classifier, embedder=SimpleNamespace(busy_s=0.0))
    return SimpleNamespace(version=version, model=None, identity=identity)


def compare(old: Any, new: Any, vectors: dict[str, dict[int, Any]]) -> list[ComparedLabels]:
    """Compare a set of cat and dog, of which people said that 1 and 2 are cats, and 3 is a dog."""
    label_set = LabelSet(7, "kind", Definition((Label("cat"), Label("dog"))), 1, "")
    said = {1: "cat", 2: "cat", 3: "dog"}

    class Labels:
        async def list(self, c: int) -> list[LabelSet]:
            return [label_set]

        async def reviewed(self, c: int, name: str) -> Reviewed:
            verdicts = {key: Verdict((label,), "ann", "", f"{key}", False) for key, label in said.items()}
            return Reviewed(label_set, verdicts, 0)

    class Vectors:
        async def of(self, keys: list[int], identity: str) -> dict[int, Any]:
            return {key: vectors[identity][key] for key in keys if key in vectors[identity]}

    comparer: Any = LabelComparer(Labels(), Vectors())  # type: ignore[arg-type]
    found: list[ComparedLabels] = asyncio.run(comparer(1, old, new, NoPause()))
    return found


def test_images_that_both_have_vectors_of_are_compared_one_by_one() -> None:
    vectors = {"old": {1: CAT, 2: DOG, 3: DOG}, "new": {1: DOG, 2: CAT}}
    old, new = side(Classifier("default"), "old"), side(Classifier("default", is_full=True), "new")
    assert compare(old, new, vectors) == [ComparedLabels("kind", 2, 1, 1, 1, 1, agrees_less=False)]


def test_version_that_lacks_the_templates_of_a_set_agrees_on_nothing() -> None:
    rows = {1: CAT, 2: CAT, 3: DOG}
    old, new = side(Classifier("default"), "old"), side(Classifier("plain"), "new")
    assert compare(old, new, {"old": rows, "new": rows}) == [ComparedLabels("kind", 3, 3, 0, 0, 3, False)]


def test_label_set_without_a_common_image_is_left_out() -> None:
    old, new = side(Classifier("default"), "old"), side(Classifier("default"), "new")
    assert compare(old, new, {"old": {1: CAT}, "new": {2: CAT}}) == []


@pytest.mark.parametrize(
    ("k", "n", "expected"),
    [(0, 0, 1.0), (4, 4, 1 / 16), (5, 5, 1 / 32), (8, 10, 56 / 1024), (50_000, 100_000, 0.50126)],
)
def test_sign_test_counts_heads_of_a_fair_coin(k: int, n: int, expected: float) -> None:
    assert sign_test(k, n) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("n_gained", "n_lost", "expected"), [(0, 4, False), (0, 5, True), (10, 20, True), (20, 30, False)]
)
def test_more_images_must_be_lost_than_chance_explains(n_gained: int, n_lost: int, expected: bool) -> None:
    old = [False] * n_gained + [True] * n_lost + [True] * 100
    new = [True] * n_gained + [False] * n_lost + [True] * 100
    found = compared("kind", old, new)
    assert (found.n_gained, found.n_lost, found.agrees_less) == (n_gained, n_lost, expected)
