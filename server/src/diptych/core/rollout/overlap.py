"""Overlap@10: how many of the first ten images of a query two indexes have in common."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.serving.live_index import LiveIndex
from diptych.core.types import Embedding, Keys

DEPTH = 10
_MIX = np.uint64(0x9E3779B97F4A7C15)  # Knuth's multiplicative hash: 2^64 divided by the golden ratio


@dataclass(frozen=True, eq=False)
class ComparedQuery:
    """A query (D,) in the vectors of both sides. `key` is that of the image, for a query by an image."""

    old: Embedding
    new: Embedding
    text: str | None = None
    key: int | None = None


@dataclass(frozen=True, eq=False)
class ComparedHits:
    """The keys of the first ten images of both sides, best first."""

    query: ComparedQuery
    old: list[int]
    new: list[int]

    @property
    def overlap(self) -> float:
        """The share of images that both sides find, 1 if there are none."""
        n_found = max(len(self.old), len(self.new))
        return len(set(self.old) & set(self.new)) / n_found if n_found else 1.0


async def compare_hits(
    query: ComparedQuery, old: LiveIndex, new: LiveIndex, allowed: Keys | None
) -> ComparedHits:
    """Search with both sides, among `allowed` images only if given. An image never finds itself."""
    return ComparedHits(
        query,
        await _first(old, query.old, query.key, allowed),
        await _first(new, query.new, query.key, allowed),
    )


async def _first(index: LiveIndex, row: Embedding, own_key: int | None, allowed: Keys | None) -> list[int]:
    keys, _ = await index.vectors.search(row, DEPTH + (own_key is not None), allowed)
    return [key for key in keys.tolist() if key != own_key][:DEPTH]


def mean_overlap(hits: Sequence[ComparedHits]) -> float | None:
    """The mean over all queries; None without any."""
    return sum(one.overlap for one in hits) / len(hits) if hits else None


def most_changed(hits: Iterable[ComparedHits], limit: int) -> list[ComparedHits]:
    """At most `limit` queries with another first ten, those with the smallest overlap first.

    Among equals, those whose first image changed come first. The order of the others stays.
    """
    changed = [one for one in hits if one.old != one.new]
    return sorted(changed, key=lambda one: (one.overlap, one.old[:1] == one.new[:1]))[:limit]


def sample(keys: Keys, limit: int) -> list[int]:
    """At most `limit` of the keys, in an order that looks random and depends on the keys alone.

    Other keys hardly change the choice, so that figures of two days can be compared.
    """
    hashes = keys.astype(np.uint64) * _MIX  # wraps around
    chosen: list[int] = keys[np.argsort(hashes, kind="stable")[:limit]].tolist()
    return chosen
