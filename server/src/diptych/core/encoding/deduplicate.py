"""Encode identical items of a batch only once."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import OnStart
from diptych.core.types import Embeddings
from diptych.errors import EncoderFailed

Array = TypeVar("Array", bound=NDArray[Any])
N_SAMPLES = 64  # bytes that tell most items apart; hashing a whole image would cost 0.1 ms


def deduplicated(
    encode: Callable[[Sequence[Array], OnStart], Embeddings],
) -> Callable[[Sequence[Array], OnStart], Embeddings]:
    """Wrap `encode` so that equal items of a batch are encoded once: N items -> (N, D)."""

    def encode_unique(items: Sequence[Array], on_start: OnStart) -> Embeddings:
        firsts, places = first_of_each(items)
        if len(firsts) == len(items):
            return encode(items, on_start)
        rows = encode([items[first] for first in firsts], on_start)  # (number of distinct items, D)
        if len(rows) != len(firsts):  # it might equal the number of all items by chance
            raise EncoderFailed(f"the encoder answered {len(rows)} rows to {len(firsts)} items")
        return rows[places]

    return encode_unique


def first_of_each(items: Sequence[NDArray[Any]]) -> tuple[list[int], list[int]]:
    """Return the index of the first item of each group of equal items, and the group of every item."""
    firsts: list[int] = []
    places: list[int] = []
    alike: dict[tuple[Any, ...], list[int]] = {}  # groups whose sampled bytes are equal
    for index, item in enumerate(items):
        candidates = alike.setdefault(_sample(item), [])
        place = next((p for p in candidates if np.array_equal(items[firsts[p]], item)), None)
        if place is None:
            place = len(firsts)
            firsts.append(index)
            candidates.append(place)
        places.append(place)
    return firsts, places


def _sample(item: NDArray[Any]) -> tuple[Any, ...]:
    flat = item.ravel()
    return item.shape, flat[:: max(1, len(flat) // N_SAMPLES)].tobytes()
