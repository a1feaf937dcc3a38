"""Vectors in inverted lists of 8-bit codes, whose best are ranked by their float32 rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import faiss
import numpy as np

from diptych.adapters.faiss.float_rows import FloatRows
from diptych.adapters.faiss.rows import Found, ranked
from diptych.core.types import EXACT, Embedding, Embeddings, IndexRecall, Keys

# Fixed steps of a search: how many candidates are ranked by their float32 rows, of which the better half are
# hits, and by which factor `nprobe` grows, since the thousandth hit lies in further lists than the tenth.
# If the steps depended on the number of hits requested, pages of one search would overlap.
DEPTHS = ((200, 1), (600, 2), (2_000, 4))
RARITY = 0.75  # the power of the share that passes a filter by which more lists are looked into
MAX_COMPARED = 10_000  # so many rows that pass a filter are all compared
MAX_IMBALANCE = 2.2  # the sum of squared list sizes, divided by that of lists of equal size
WORSENED = 1.2  # than after training: lists of equal vectors are long whatever is done
FEW = 32  # times fewer keys than rows are looked up one by one
MAX_TABLE = 16  # entries for each row
NOTHING: Found = (np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass
class Trained:
    """The result of training and tuning. `n_rows` and `imbalance` are those at the end of training."""

    n_rows: int
    nprobe: int
    recall: IndexRecall = EXACT
    imbalance: float = 1.0


class IvfRows:
    """Satisfies SearchedRows. FAISS knows rows by their slots, which are never used again.

    A search looks into the `nprobe` lists that are nearest to the query. Where a filter lets few rows pass,
    and beyond the last depth, all rows that may be found are compared.
    """

    def __init__(
        self, index: Any, floats: FloatRows, trained: Trained, max_compared: int = MAX_COMPARED
    ) -> None:
        """`index` is trained, and empty unless `restore` follows with the slots of its rows."""
        self.index, self.floats, self.trained = index, floats, trained
        self.max_compared = max_compared
        self._keys: Keys = np.empty(0, np.int64)  # by slot
        self._is_live = np.empty(0, np.bool_)
        self._is_sorted = True  # the keys ascend

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return int(self.index.ntotal)

    @property
    def keys(self) -> Keys:
        """The keys of all rows, in the order of adding."""
        return self._keys[self._live()]

    @property
    def slots(self) -> tuple[Keys, "np.ndarray[Any, np.dtype[np.bool_]]"]:
        """The keys of all slots, and whether their rows are still there."""
        return self._keys[: self.floats.n_slots], self._is_live[: self.floats.n_slots]

    @property
    def memory_bytes(self) -> int:
        """The bytes of codes, keys and centroids, and of the rows where they are not mapped."""
        codes = self.n_rows * (self.index.code_size + 8) + 4 * self.index.nlist * self.index.d
        return int(codes) + self._keys.nbytes + self._is_live.nbytes + self.floats.memory_bytes

    @property
    def is_worn(self) -> bool:
        """Whether its lists no longer fit its rows."""
        before, now = self.trained, float(self.index.invlists.imbalance_factor())
        is_uneven = now > max(MAX_IMBALANCE, WORSENED * before.imbalance)
        return self.n_rows >= 2 * before.n_rows or 2 * self.n_rows < self.floats.n_slots or is_uneven

    def parts(self) -> Iterator[tuple[Keys, Embeddings]]:
        """The keys and rows of each chunk."""
        start = 0
        for rows in self.floats.parts():
            live = np.flatnonzero(self._is_live[start : start + len(rows)])
            yield self._keys[start + live], rows[live]
            start += len(rows)

    def restore(self, keys: Keys, is_live: "np.ndarray[Any, np.dtype[np.bool_]]") -> None:
        """Tell which slots the rows of the index and of `floats` have."""
        self._keys, self._is_live = keys.copy(), is_live.copy()
        self._is_sorted = bool((np.diff(keys) > 0).all())

    def change(self, removed: Sequence[int] | Keys, keys: Sequence[int] | Keys, rows: Embeddings) -> None:
        """Remove the keys `removed` and add `rows` (N, D) under `keys`."""
        if len(removed):
            slots = self._slots_of(np.asarray(removed, np.int64))
            self._is_live[slots] = False
            if len(slots):
                self.index.remove_ids(faiss.IDSelectorBatch(slots))
        if len(keys):
            self._add(np.asarray(keys, np.int64), np.ascontiguousarray(rows, np.float32))

    def nearest(self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False) -> Found:
        """At most k (keys, cosines), best first, equal cosines by ascending key; among `allowed` if given.

        The hits go on with an exact ranking of the other rows where the lists have no more: a row that the
        lists missed comes late, and is not lost.
        """
        slots = None if allowed is None else self._slots_of(allowed)
        k = min(k, self.n_rows if slots is None else len(slots))
        found = NOTHING
        if k and not exact and (slots is None or len(slots) > self.max_compared):
            found = self._in_lists(query, k, slots)
        if k > len(found[0]):
            all_slots = self._live() if slots is None else slots
            found = _joined(found, self._compared(query, all_slots, k - len(found[0]), but=found[0]))
        return found[0][:k], found[1][:k]

    def clear(self, *, forget: bool = False) -> None:
        """Free the memory; with `forget` remove the file of rows."""
        self.index.reset()
        self.floats.close(forget=forget)
        self._keys, self._is_live = self._keys[:0], self._is_live[:0]

    def _in_lists(self, query: Embedding, k: int, slots: Keys | None) -> Found:
        """Hits of the nearest lists: at least k, unless these lists or the depths end before."""
        row, params = np.ascontiguousarray(query[np.newaxis], np.float32), self._parameters(slots)
        found, nprobe = NOTHING, params.nprobe
        for depth, factor in DEPTHS:
            params.nprobe = min(factor * nprobe, self.index.nlist)
            candidates = self._candidates(row, depth, params)
            if len(candidates) < depth:
                break  # the remaining rows are in lists that were not searched
            found = _joined(
                found, self._compared(query, candidates, depth // 2 - len(found[0]), but=found[0])
            )
            if len(found[0]) >= k:
                break
        return found

    def _parameters(self, slots: Keys | None) -> Any:
        """More lists for fewer rows: those that pass a filter may lie far from the query."""
        if slots is None:
            return faiss.SearchParametersIVF(nprobe=self.trained.nprobe)  # type: ignore[call-arg]
        passes = np.zeros(self.floats.n_slots, np.bool_)
        passes[slots] = True
        nprobe = ceil(self.trained.nprobe / (len(slots) / self.n_rows) ** RARITY)
        bits: Any = np.packbits(passes, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg]
        return faiss.SearchParametersIVF(nprobe=min(nprobe, self.index.nlist), sel=selector)  # type: ignore[call-arg]

    def _candidates(self, row: Embeddings, depth: int, params: Any) -> Keys:
        """The slots of the best `depth` codes, and of all that are equal to the last of them."""
        scores, slots = (found[0] for found in self.index.search(row, depth + 1, params=params))
        if slots[depth] < 0 or scores[depth] < scores[depth - 1]:
            there: Keys = slots[:depth][slots[:depth] >= 0]
            return there
        below = float(np.nextafter(scores[depth], np.float32(-np.inf)))
        _, _, equal = self.index.range_search(row, below, params=params)
        return np.union1d(slots, equal)

    def _compared(self, query: Embedding, slots: Keys, k: int, but: Keys) -> Found:
        """The best k of these slots by their float32 rows, without the keys `but`."""
        if len(but):
            slots = slots[~np.isin(self._keys[slots], but)]
        cosines, keys = self.floats.cosines(query, slots), self._keys[slots]
        if k < len(cosines):
            least = np.partition(cosines, len(cosines) - k)[len(cosines) - k]
            cosines, keys = cosines[cosines >= least], keys[cosines >= least]
        keys, cosines = ranked([(keys, cosines)])
        return keys[:k], cosines[:k]

    def _add(self, keys: Keys, rows: Embeddings) -> None:
        first = self.floats.n_slots
        self._is_sorted &= bool((np.diff(keys) > 0).all()) and (not first or keys[0] > self._keys[first - 1])
        slots = self.floats.append(rows)
        if len(self._keys) < self.floats.n_slots:
            n_spare = self.floats.n_slots // 8 + 1_024
            self._keys = np.concatenate([self._keys[:first], keys, np.zeros(n_spare, np.int64)])
            self._is_live = np.concatenate([self._is_live[:first], np.zeros(len(keys) + n_spare, np.bool_)])
        self._keys[slots], self._is_live[slots] = keys, True
        self.index.add_with_ids(rows, slots)

    def _live(self) -> Keys:
        return np.flatnonzero(self._is_live[: self.floats.n_slots])

    def _slots_of(self, keys: Keys) -> Keys:
        """The slots of those keys that are there."""
        own, is_live = self.slots
        if not self._is_sorted or FEW * len(keys) > len(own):
            return np.flatnonzero(_is_in(own, keys) & is_live)
        places = np.minimum(np.searchsorted(own, keys), max(0, len(own) - 1))
        slots: Keys = places[(own[places] == keys) & is_live[places]]
        return slots


def _is_in(own: Keys, keys: Keys) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Whether each of `own` is among `keys`: by a table, several times faster, unless it would be large."""
    if not len(own):
        return np.empty(0, np.bool_)
    low, high = int(own.min()), int(own.max())
    if high - low > MAX_TABLE * len(own):
        return np.isin(own, keys)
    table = np.zeros(high - low + 1, np.bool_)
    table[keys[(keys >= low) & (keys <= high)] - low] = True
    return table[own - low]


def _joined(first: Found, second: Found) -> Found:
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
