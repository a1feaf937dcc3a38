"""Count the values of a metadata field among the hits of a search."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diptych.core.collections.filters import Path, lookup
from diptych.core.types import Hit

MAX_VALUES = 100  # of one field


@dataclass(frozen=True)
class Facet:
    """How many of the `n_hits` best hits have each value of a field: the most frequent values first."""

    path: Path
    n_hits: int
    values: list[tuple[Any, int]]


def count_facets(paths: Sequence[Path], hits: Sequence[Hit]) -> list[Facet]:
    """The facets of the distinct paths, in order. Long arrays take seconds, so call it in a thread."""
    return [count_values(path, hits) for path in dict.fromkeys(paths)]


def count_values(path: Path, hits: Sequence[Hit]) -> Facet:
    """Count texts, numbers, booleans and nulls; of an array each element, once a hit.

    As in filters 1 equals 1.0, and true is not 1. Equally frequent values keep the order of the hits.
    """
    counts: Counter[tuple[bool, Any]] = Counter()
    for hit in hits:
        found = lookup(hit.metadata, path, absent=[])
        values = found if isinstance(found, list) else [found]
        scalars = (value for value in values if not isinstance(value, list | dict))
        counts.update(dict.fromkeys((isinstance(value, bool), value) for value in scalars).keys())
    most = counts.most_common(MAX_VALUES)
    return Facet(path, len(hits), [(value, count) for (_, value), count in most])
