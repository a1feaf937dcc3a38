"""Hits that are duplicates of a better hit are folded into it."""

import numpy as np

from diptych.core.collections.duplicates import fold_near, fold_same_bytes
from diptych.core.types import Duplicate, Hit


def hits(*contents: str) -> list[Hit]:
    return [Hit(f"{i}", 1 - i / 10, None, {}, i, content, "pets") for i, content in enumerate(contents)]


def at_angles(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)  # (N, 2)


def folded(found: list[Hit]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(hit.id, [(one.id, one.kind) for one in hit.duplicates]) for hit in found]


def test_hits_with_the_same_bytes_become_the_best_of_them_in_order() -> None:
    found = fold_same_bytes(hits("a", "b", "a", "c", "a"))
    assert folded(found) == [("0", [("2", "bytes"), ("4", "bytes")]), ("1", []), ("3", [])]
    assert (found[0].cosine, found[0].duplicates[0]) == (1, Duplicate("2", "bytes", "pets"))


def test_near_hits_are_folded_and_told_apart_from_the_same_bytes() -> None:
    found = fold_near(hits("a", "b", "a", "c"), at_angles(0, 5, 0, 90), cosine=0.99)
    assert folded(found) == [("0", [("1", "near"), ("2", "bytes")]), ("3", [])]


def test_chain_of_neighbours_does_not_become_one_hit() -> None:
    found = fold_near(
        hits("a", "b", "c", "d"), at_angles(0, 10, 20, 30), cosine=float(np.cos(np.radians(11)))
    )
    assert folded(found) == [("0", [("1", "near")]), ("2", [("3", "near")])]


def test_hit_goes_to_the_nearest_of_the_better_ones() -> None:
    found = fold_near(hits("a", "b", "c"), at_angles(0, 20, 12), cosine=float(np.cos(np.radians(15))))
    assert folded(found) == [("0", []), ("1", [("2", "near")])]


def test_no_hits_are_folded_into_none() -> None:
    assert fold_same_bytes([]) == []
    assert fold_near([], np.empty((0, 2), np.float32), 0.9) == []
