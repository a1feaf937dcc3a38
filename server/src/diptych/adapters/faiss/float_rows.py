"""Float32 vectors by slot, mapped from a file or in memory."""

import zlib
from collections.abc import Callable, Iterator

import faiss
import numpy as np

from diptych.adapters.files.index_files import RowFile
from diptych.core.types import Embedding, Embeddings, Keys
from diptych.errors import StoreError

CHUNK_ROWS = 1 << 16


class FloatRows:
    """Rows (D,) in slots 0, 1, 2 ... that are only ever appended, in chunks.

    With a file the chunks are mapped from it: the operating system takes their memory back when it is short.
    They are written with calls and not through the map, where a full disk would end the process. If writing
    fails, the file is removed, `on_failure` is called, and the rows go on in memory.
    """

    def __init__(self, embed_dim: int, file: RowFile | None, chunk_rows: int = CHUNK_ROWS) -> None:
        self.n_slots = 0
        self.crc = 0  # of the bytes of all slots, as long as all are in the file
        self.file = file
        self.on_failure: Callable[[StoreError], object] = lambda error: None
        self._embed_dim, self._chunk_rows = embed_dim, chunk_rows
        self._chunks: list[Embeddings] = []
        self._n_mapped = 0  # chunks

    @classmethod
    def opened(cls, embed_dim: int, file: RowFile, n_slots: int, chunk_rows: int = CHUNK_ROWS) -> "FloatRows":
        """Map the rows that the file has; `crc` is computed from its bytes. Raises StoreError."""
        rows = cls(embed_dim, file, chunk_rows)
        while len(rows._chunks) * chunk_rows < n_slots:
            rows._add_chunk()
        rows.n_slots = n_slots
        for part in rows.parts():
            rows.crc = zlib.crc32(part, rows.crc)  # type: ignore[arg-type]
        return rows

    def leave_read_only_file(self) -> None:
        """Close a file that is read-only, so that later rows stay in memory; what is mapped stays mapped."""
        if self.file is not None and self.file.read_only:
            self.file.close()
            self.file = None

    @property
    def memory_bytes(self) -> int:
        """The bytes of the chunks that are not mapped."""
        return sum(chunk.nbytes for chunk in self._chunks[self._n_mapped :])

    def append(self, rows: Embeddings) -> Keys:
        """Put rows (N, D) into new slots; return the slots (N,)."""
        rows, first = np.ascontiguousarray(rows, np.float32), self.n_slots
        while len(rows):
            place = self.n_slots % self._chunk_rows
            if place == 0 and self.n_slots == len(self._chunks) * self._chunk_rows:
                self._add_chunk()
            some, rows = rows[: self._chunk_rows - place], rows[self._chunk_rows - place :]
            self._write(some, place)
            self.n_slots += len(some)
        return np.arange(first, self.n_slots)

    def cosines(self, query: Embedding, slots: Keys) -> Embedding:
        """The cosine of a query (D,) to the row of each slot (N,).

        A row has the same cosine, bit for bit, in whatever place of `slots` and next to whatever other rows.
        """
        row, cosines = np.ascontiguousarray(query, np.float32), np.empty(len(slots), np.float32)
        numbers, places = np.divmod(np.asarray(slots, np.int64), self._chunk_rows)
        for number in np.unique(numbers):
            here = np.flatnonzero(numbers == number)
            chunk, wanted = self._chunks[number], np.ascontiguousarray(places[here])
            found = np.empty(len(here), np.float32)
            faiss.fvec_inner_products_by_idx(  # type: ignore[attr-defined]
                faiss.swig_ptr(found),
                faiss.swig_ptr(row),
                faiss.swig_ptr(chunk),
                faiss.swig_ptr(wanted),
                self._embed_dim,
                1,
                len(here),
            )
            cosines[here] = found
        return cosines

    def rows(self, slots: Keys) -> Embeddings:
        """The rows (N, D) of slots (N,)."""
        numbers, places = np.divmod(slots, self._chunk_rows)
        found = np.empty((len(slots), self._embed_dim), np.float32)
        for number in np.unique(numbers):
            found[numbers == number] = self._chunks[number][places[numbers == number]]
        return found

    def parts(self) -> Iterator[Embeddings]:
        """The rows of all slots, chunk by chunk, not copied."""
        for number, chunk in enumerate(self._chunks):
            yield chunk[: max(0, self.n_slots - number * self._chunk_rows)]

    def close(self, *, forget: bool = False) -> None:
        """Free the memory, and close the file; with `forget` remove it. No other call may follow."""
        self._chunks.clear()
        if self.file is not None:
            (self.file.discard if forget else self.file.close)()

    def _add_chunk(self) -> None:
        shape = (self._chunk_rows, self._embed_dim)
        if self.file is not None:
            try:
                self._chunks.append(self.file.mapped(len(self._chunks), shape))
            except StoreError as error:
                self._leave_file(error)
            else:
                self._n_mapped += 1
                return
        self._chunks.append(np.empty(shape, np.float32))

    def _write(self, rows: Embeddings, place: int) -> None:
        if self.file is not None:
            try:
                self.file.write(rows, 4 * self._embed_dim * self.n_slots)
            except StoreError as error:
                self._leave_file(error)
            else:
                self.crc = zlib.crc32(rows, self.crc)  # type: ignore[arg-type]
                return
        if not self._chunks[-1].flags.writeable:
            self._chunks[-1] = np.array(self._chunks[-1])
            self._n_mapped -= 1
        self._chunks[-1][place : place + len(rows)] = rows

    def _leave_file(self, error: StoreError) -> None:
        assert self.file is not None
        self.file.discard()
        self.file = None
        self.on_failure(error)
