"""Rows in blocks that FAISS searches exactly on the CPU; knows nothing of threads, images or collections."""

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np

from diptych.core.types import Embedding, Embeddings, Keys

BLOCK_BYTES = 64 << 20  # of vectors in one block

Found = tuple[Keys, Embedding]  # keys and their cosines


class FlatRows:
    """Not for two threads at a time: FAISS crashes when an index is changed while it is searched.

    One array of a million vectors of 256 numbers is copied as a whole whenever it must grow, and closes up
    its gaps as a whole after each removal: both took tenths of a second. So there are blocks.
    """

    def __init__(self, embed_dim: int, block_bytes: int = BLOCK_BYTES) -> None:
        self._embed_dim = embed_dim
        self._block_rows = max(1, block_bytes // (4 * embed_dim))
        self._blocks: list[Block] = []

    @property
    def n_rows(self) -> int:
        """In all blocks."""
        return sum(block.n_rows for block in self._blocks)

    @property
    def blocks(self) -> tuple["Block", ...]:
        """Those there are now."""
        return tuple(self._blocks)

    def change(self, removed: Sequence[int] | Keys, keys: Sequence[int], rows: Embeddings) -> None:
        """Take `removed` out and put `rows` (N, D) in under `keys`."""
        if len(removed):
            gone = np.array(removed, dtype=np.int64)
            for block in self._blocks:
                block.remove(gone)
            self._blocks[:] = [block for block in self._blocks if block.n_rows]
        start, added = 0, np.array(keys, dtype=np.int64)
        while start < len(added):
            block = self._block_with_room()
            end = start + self._block_rows - block.n_rows
            block.add(added[start:end], np.ascontiguousarray(rows[start:end], np.float32))
            start = end

    def nearest(self, query: Embedding, k: int, allowed: Keys | None) -> Found:
        """At most k (keys, cosines), best first, equal cosines by ascending key; among `allowed` if given."""
        row = np.ascontiguousarray(query[np.newaxis], np.float32)  # (1, D)
        selector = None if allowed is None else faiss.IDSelectorBatch(allowed)
        params = None if selector is None else faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        if not self._blocks or k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        # One more than k shows whether the last place is tied.
        keys, cosines = ranked([block.nearest(row, k + 1, params) for block in self._blocks])
        if len(keys) > k and cosines[k] == cosines[k - 1]:
            below = float(np.nextafter(cosines[k], np.float32(-np.inf)))
            keys, cosines = ranked([block.above(row, below, params) for block in self._blocks])
        return keys[:k], cosines[:k]

    def clear(self) -> None:
        """Give the memory back."""
        self._blocks.clear()

    def _block_with_room(self) -> "Block":
        for block in self._blocks:
            if block.n_rows < self._block_rows:
                return block
        # The first one grows as it is filled, as most collections are small; after it all are made whole.
        self._blocks.append(Block(self._embed_dim, self._block_rows if self._blocks else 0))
        return self._blocks[-1]


class Block:
    """Some of the rows."""

    def __init__(self, embed_dim: int, n_reserved: int) -> None:
        vectors = faiss.IndexFlatIP(embed_dim)
        vectors.codes.resize(n_reserved * vectors.code_size)  # its memory stays when it is emptied again,
        vectors.codes.resize(0)  # and nothing is copied as it fills, nor more taken than it needs
        self._vectors = vectors
        self._index = faiss.IndexIDMap(vectors)
        self._lowest, self._highest = np.iinfo(np.int64).max, -1  # of all keys that were ever in it

    @property
    def n_rows(self) -> int:
        """In it now."""
        return int(self._index.ntotal)

    @property
    def keys(self) -> Keys:
        """(N,), a copy."""
        found: Any = faiss.vector_to_array(self._index.id_map)
        keys: Keys = found
        return keys

    @property
    def rows(self) -> Embeddings:
        """(N, D) in the order of `keys`, a copy."""
        found: Any = self._vectors.reconstruct_n(0, self.n_rows)
        rows: Embeddings = found
        return rows

    def add(self, keys: Keys, rows: Embeddings) -> None:
        """(N,) and (N, D)."""
        self._index.add_with_ids(rows, keys)
        self._lowest = min(self._lowest, int(keys.min()))
        self._highest = max(self._highest, int(keys.max()))

    def remove(self, keys: Keys) -> None:
        """Those of them that are here; most changes leave most blocks alone."""
        here = keys[(keys >= self._lowest) & (keys <= self._highest)]
        if len(here):
            self._index.remove_ids(faiss.IDSelectorBatch(here))

    def nearest(self, row: Embeddings, k: int, params: faiss.SearchParameters | None) -> Found:
        """At most k (keys, cosines)."""
        cosines, keys = (found[0] for found in self._index.search(row, min(k, self.n_rows), params=params))
        return keys[keys >= 0], cosines[keys >= 0]  # places that nothing filled have key -1

    def above(self, row: Embeddings, below: float, params: faiss.SearchParameters | None) -> Found:
        """All (keys, cosines) with a cosine above `below`."""
        _, cosines, keys = self._index.range_search(row, below, params=params)
        return keys, cosines


def ranked(found: Sequence[Found]) -> Found:
    """All of them in one ranking: best first, equal cosines by ascending key."""
    keys, cosines = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((keys, -cosines))
    return keys[order], cosines[order]
