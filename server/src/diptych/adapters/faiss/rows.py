"""Vectors in blocks that FAISS searches exactly on the CPU."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import faiss
import numpy as np

from diptych.core.types import Embedding, Embeddings, Keys

BLOCK_BYTES = 64 << 20  # of vectors in one block

Found = tuple[Keys, Embedding]  # keys and their cosines


class SearchedRows(Protocol):
    """Vectors under their keys. A change runs alone, other calls may run side by side."""

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        ...

    @property
    def keys(self) -> Keys:
        """A copy of the keys (N,), in any order."""
        ...

    @property
    def memory_bytes(self) -> int:
        """The bytes of the vectors in memory, without what is mapped from a file."""
        ...

    def parts(self) -> Iterator[tuple[Keys, Embeddings]]:
        """Copies of all keys (N,) and rows (N, D), part by part."""
        ...

    def change(self, removed: Sequence[int] | Keys, keys: Sequence[int] | Keys, rows: Embeddings) -> None:
        """Remove the keys `removed` and add `rows` (N, D) under `keys`."""
        ...

    def nearest(self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False) -> Found:
        """At most k (keys, cosines), best first, equal cosines by ascending key; among `allowed` if given.

        The first m hits are the same for every k >= m.
        """
        ...

    def clear(self, *, forget: bool = False) -> None:
        """Free the memory, and with `forget` remove a file of rows. No other call may follow."""
        ...


class FlatRows:
    """Satisfies SearchedRows: compares all rows. FAISS crashes if it is searched while it changes.

    A single array would be copied whenever it grows and compacted after each removal, which takes tenths of a
    second for a million vectors of 256 numbers. Blocks limit both.
    """

    def __init__(self, embed_dim: int, block_bytes: int = BLOCK_BYTES) -> None:
        self._embed_dim = embed_dim
        self._block_rows = max(1, block_bytes // (4 * embed_dim))
        self._blocks: list[Block] = []

    @property
    def n_rows(self) -> int:
        """The number of rows in all blocks."""
        return sum(block.n_rows for block in self._blocks)

    @property
    def blocks(self) -> tuple["Block", ...]:
        """The blocks at this moment."""
        return tuple(self._blocks)

    @property
    def keys(self) -> Keys:
        """The keys of all blocks."""
        return np.concatenate([np.empty(0, np.int64), *(block.keys for block in self._blocks)])

    @property
    def memory_bytes(self) -> int:
        """The bytes of all rows."""
        return 4 * self._embed_dim * self.n_rows

    def parts(self) -> Iterator[tuple[Keys, Embeddings]]:
        """The keys and rows of each block."""
        return ((block.keys, block.rows) for block in self.blocks)

    def change(self, removed: Sequence[int] | Keys, keys: Sequence[int] | Keys, rows: Embeddings) -> None:
        """Remove the keys `removed` and add `rows` (N, D) under `keys`."""
        if len(removed):
            removed_keys = np.array(removed, dtype=np.int64)
            for block in self._blocks:
                block.remove(removed_keys)
            self._blocks[:] = [block for block in self._blocks if block.n_rows]
        start, added = 0, np.array(keys, dtype=np.int64)
        while start < len(added):
            block = self._block_with_room()
            end = start + self._block_rows - block.n_rows
            block.add(added[start:end], np.ascontiguousarray(rows[start:end], np.float32))
            start = end

    def nearest(self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = True) -> Found:
        """At most k (keys, cosines), best first; exact in any case."""
        row = np.ascontiguousarray(query[np.newaxis], np.float32)  # (1, D)
        selector = None if allowed is None else faiss.IDSelectorBatch(allowed)
        params = None if selector is None else faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        if not self._blocks or k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        # One hit more than k shows whether the last one is tied.
        keys, cosines = ranked([block.nearest(row, k + 1, params) for block in self._blocks])
        if len(keys) > k and cosines[k] == cosines[k - 1]:
            below = float(np.nextafter(cosines[k], np.float32(-np.inf)))
            keys, cosines = ranked([block.above(row, below, params) for block in self._blocks])
        return keys[:k], cosines[:k]

    def clear(self, *, forget: bool = False) -> None:
        """Free the memory."""
        self._blocks.clear()

    def _block_with_room(self) -> "Block":
        for block in self._blocks:
            if block.n_rows < self._block_rows:
                return block
        # The first block grows as it is filled, since most collections are small. Later ones are allocated
        # whole.
        self._blocks.append(Block(self._embed_dim, self._block_rows if self._blocks else 0))
        return self._blocks[-1]


class Block:
    """A block of rows: one FAISS index."""

    def __init__(self, embed_dim: int, n_reserved: int) -> None:
        vectors = faiss.IndexFlatIP(embed_dim)
        # Reserve memory: the capacity stays when the vector is emptied, so that filling it copies nothing.
        vectors.codes.resize(n_reserved * vectors.code_size)
        vectors.codes.resize(0)
        self._vectors = vectors
        self._index = faiss.IndexIDMap(vectors)
        self._lowest, self._highest = np.iinfo(np.int64).max, -1  # over all keys that were ever in the block

    @property
    def n_rows(self) -> int:
        """The number of rows in the block."""
        return int(self._index.ntotal)

    @property
    def keys(self) -> Keys:
        """A copy of the keys (N,)."""
        found: Any = faiss.vector_to_array(self._index.id_map)
        keys: Keys = found
        return keys

    @property
    def rows(self) -> Embeddings:
        """A copy of the rows (N, D), in the order of `keys`."""
        found: Any = self._vectors.reconstruct_n(0, self.n_rows)
        rows: Embeddings = found
        return rows

    def add(self, keys: Keys, rows: Embeddings) -> None:
        """Add `rows` (N, D) under `keys` (N,)."""
        self._index.add_with_ids(rows, keys)
        self._lowest = min(self._lowest, int(keys.min()))
        self._highest = max(self._highest, int(keys.max()))

    def remove(self, keys: Keys) -> None:
        """Remove those of the keys that are in this block. Most changes concern few blocks."""
        here = keys[(keys >= self._lowest) & (keys <= self._highest)]
        if len(here):
            self._index.remove_ids(faiss.IDSelectorBatch(here))

    def nearest(self, row: Embeddings, k: int, params: faiss.SearchParameters | None) -> Found:
        """At most k (keys, cosines) of this block."""
        cosines, keys = (found[0] for found in self._index.search(row, min(k, self.n_rows), params=params))
        return keys[keys >= 0], cosines[keys >= 0]  # FAISS fills missing hits with key -1

    def above(self, row: Embeddings, below: float, params: faiss.SearchParameters | None) -> Found:
        """All (keys, cosines) of this block with a cosine above `below`."""
        _, cosines, keys = self._index.range_search(row, below, params=params)
        return keys, cosines


def ranked(found: Sequence[Found]) -> Found:
    """Merge hits into one ranking: best first, equal cosines by ascending key."""
    keys, cosines = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((keys, -cosines))
    return keys[order], cosines[order]
