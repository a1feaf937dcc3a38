"""The nearest rows by a copy on a GPU, with the CPU's cosines, where it can tell them. Knows no threads."""

from collections.abc import Iterator

import numpy as np

from diptych.adapters.faiss_exam import MAX_HITS
from diptych.adapters.faiss_gpu import MAX_ERROR, MAX_K, GpuRows
from diptych.adapters.faiss_rows import FlatRows, Found, cosines_of, ranked
from diptych.core.types import Embedding

SPARE = 64  # hits more than asked: those of which only their exact cosines tell whether they are among the k


class Wrong(Exception):
    """What the GPU computed is not what the CPU computes."""


def can_answer(sealed: GpuRows, k: int, *, exact: bool) -> bool:
    """Of a copy in lists it was measured only how many of so many hits it finds."""
    return not sealed.n_lists or (k <= MAX_HITS and not exact)


def certain_nearest(
    sealed: GpuRows, rows: FlatRows, tail: FlatRows, query: Embedding, k: int
) -> Found | None:
    """The k nearest of the tail and of the lists that are searched, or of all; `rows` has the rows of all.

    None where the GPU cannot tell them from others, or those are not so many. Raises Wrong, and what FAISS
    raises.
    """
    in_tail = tail.nearest(query, k, None)
    for asked in _amounts(k + SPARE, sealed.n_rows):
        places, rough = sealed.nearest(query, asked)
        is_live = ~sealed.dead[places]
        keys = sealed.keys[places[is_live]]
        exact = cosines_of(query, rows.rows_of(keys)) if len(keys) else np.empty(0, np.float32)
        _require_equal(exact, rough[is_live])
        found, cosines = ranked([in_tail, (keys, exact)])
        # What was left out is at most as near as the last that was not, but for the error of both sums.
        is_whole = len(places) >= sealed.n_rows
        has_no_more = sealed.n_lists > 0 and len(places) < asked
        if is_whole or (len(found) >= k and (has_no_more or cosines[k - 1] > rough[-1] + MAX_ERROR)):
            return found[:k], cosines[:k]
    return None


def _amounts(first: int, n_rows: int) -> Iterator[int]:
    """Of hits to ask for, more and more, as long as the GPU gives so many at once."""
    amount = first
    while amount < n_rows and amount <= MAX_K:
        yield amount
        amount *= 4
    if n_rows <= MAX_K:
        yield n_rows


def _require_equal(exact: Embedding, rough: Embedding) -> None:
    off = float(np.abs(exact - rough).max(initial=0.0))
    if not off <= MAX_ERROR:  # true for NaN as well
        raise Wrong(f"a cosine is off by {off:.2g}")
