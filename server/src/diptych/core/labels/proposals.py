"""The order in which pictures are proposed for review."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from diptych.core.types import Keys

EVERY = 5  # one picture of so many is drawn at random


def in_random_order(keys: Keys, label_set: int) -> Keys:
    """These keys in an order that depends on nothing but the keys and the number of the set."""
    seed = _mixed(np.array([label_set], np.uint64))
    return keys[np.argsort(_mixed(keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + seed))]


def proposed(
    uncertain: Sequence[int], drawn: Sequence[int], groups: Mapping[int, int], n_reviewed: int, limit: int
) -> list[tuple[int, bool]]:
    """Choose at most `limit` images, each with whether it was drawn at random.

    `uncertain` and `drawn` are candidates in their orders, `groups` the group of near duplicates of each: an
    image stands for its group. Every fifth one is drawn, counted from the first picture that was reviewed, so
    that a later call goes on where the reviewer stopped. What is drawn next is not taken as an uncertain one:
    else those that are drawn would be the certain ones.
    """
    found, shown = list[tuple[int, bool]](), set[int]()
    for n in range(n_reviewed, n_reviewed + limit):
        next_drawn = _first(drawn, groups, shown)
        is_drawn = n % EVERY == EVERY - 1
        key = next_drawn
        if not is_drawn and next_drawn is not None:
            nearest = _first(uncertain, groups, {*shown, groups[next_drawn]})
            key = next_drawn if nearest is None else nearest  # nothing else is left
        if key is None:
            break
        found.append((key, is_drawn))
        shown.add(groups[key])
    return found


def _first(keys: Sequence[int], groups: Mapping[int, int], shown: Collection[int]) -> int | None:
    return next((key for key in keys if groups[key] not in shown), None)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers that look random, the same for the same ones: the finalizer of SplitMix64 (Steele 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    mixed: NDArray[np.uint64] = numbers ^ (numbers >> np.uint64(31))
    return mixed
