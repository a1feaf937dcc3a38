"""Write trained lists with their rows to a file of an index, and read them back.

The file: a line of JSON, the keys of all slots, whether their rows are still there, the index as FAISS writes
it, and the CRC-32 of all of that. The float32 rows have a file of their own, whose CRC-32 is in the JSON.
"""

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np

from diptych.adapters.faiss.float_rows import CHUNK_ROWS, FloatRows
from diptych.adapters.faiss.ivf_rows import IvfRows, Trained
from diptych.adapters.files.index_files import IndexFiles, index_errors
from diptych.core.types import IndexRecall, Keys
from diptych.errors import StoreError

FORMAT = 1
READ_BYTES = 1 << 20
CRC_BYTES = 4


@dataclass(frozen=True)
class CopiedLists:
    """What the file of an index will have, apart from the rows, which may change meanwhile."""

    about: dict[str, Any]
    keys: Keys
    is_live: "np.ndarray[Any, np.dtype[np.uint8]]"  # packed
    index: Any


def copied_lists(rows: IvfRows, change: int) -> CopiedLists:
    """Copy the lists of rows, which have all changes of the collection up to the number `change`."""
    assert rows.floats.file is not None, "rows in memory are not written"
    keys, is_live = rows.slots
    about = {
        "format": FORMAT,
        "faiss": faiss.__version__,
        "change": change,
        "n_slots": len(keys),
        "rows_file": rows.floats.file.path.name,
        "rows_crc": rows.floats.crc,
        **asdict(rows.trained),
    }
    return CopiedLists(about, keys.copy(), np.packbits(is_live), faiss.clone_index(rows.index))


def write_lists(lists: CopiedLists, path: Path) -> None:
    """Write the file of an index. Raises OSError."""
    with path.open("xb") as file:
        path.chmod(0o600)
        out = _Summed(file)
        out.write(json.dumps(lists.about).encode() + b"\n")
        out.write(lists.keys.tobytes())
        out.write(lists.is_live.tobytes())
        faiss.write_index(lists.index, faiss.PyCallbackIOWriter(out.write))  # type: ignore[attr-defined]
        file.write(out.crc.to_bytes(CRC_BYTES, "big"))


def read_lists(
    files: IndexFiles, name: str, embed_dim: int, last_change: int, chunk_rows: int = CHUNK_ROWS
) -> tuple[IvfRows, int]:
    """The rows that were written, and the number of the last change that they have.

    Refuses a file with a later change than `last_change`: it is of another store, where keys may mean other
    images. Raises ValueError saying why a file cannot be used, and StoreError.
    """
    path = files.index(name)
    with index_errors(), path.open("rb") as file:
        _require_whole(file, path.stat().st_size)
        file.seek(0)
        about = json.loads(file.readline())
        if (about["format"], about["faiss"]) != (FORMAT, faiss.__version__):
            raise ValueError(f"it is of format {about['format']}, faiss {about['faiss']}")
        if about["change"] > last_change:
            raise ValueError(f"it has change {about['change']}, the store only {last_change}")
        n = about["n_slots"]
        keys = np.frombuffer(file.read(8 * n), np.int64)
        is_live = np.unpackbits(np.frombuffer(file.read((n + 7) // 8), np.uint8), count=n).astype(np.bool_)
        reader = faiss.PyCallbackIOReader(file.read, READ_BYTES)  # type: ignore[attr-defined]
        index: Any = faiss.read_index(reader)
    if index.d != embed_dim:
        raise ValueError(f"it has vectors of {index.d} numbers, not of {embed_dim}")
    floats = _floats(files, about, embed_dim, chunk_rows)
    recall = IndexRecall(**about["recall"])
    trained = Trained(about["n_rows"], about["nprobe"], recall, about["imbalance"])
    rows = IvfRows(index, floats, trained)
    rows.restore(keys, is_live)
    return rows, about["change"]


def _floats(files: IndexFiles, about: dict[str, Any], embed_dim: int, chunk_rows: int) -> FloatRows:
    file = files.rows(about["rows_file"])
    try:
        if file.n_bytes < 4 * embed_dim * about["n_slots"]:
            raise ValueError("its file of rows is too short")
        floats = FloatRows.opened(embed_dim, file, about["n_slots"], chunk_rows)
        if floats.crc != about["rows_crc"]:
            raise ValueError("its file of rows is damaged")
    except (ValueError, StoreError):
        file.close()
        raise
    return floats


def _require_whole(file: BinaryIO, n_bytes: int) -> None:
    crc, rest = 0, n_bytes - CRC_BYTES
    while rest > 0:
        block = file.read(min(READ_BYTES, rest))
        if not block:
            break
        crc, rest = zlib.crc32(block, crc), rest - len(block)
    if rest != 0 or file.read() != crc.to_bytes(CRC_BYTES, "big"):
        raise ValueError("it is damaged")


class _Summed:
    """Writes to a file, and sums up what it writes."""

    def __init__(self, file: BinaryIO) -> None:
        self.crc, self._file = 0, file

    def write(self, payload: bytes) -> int:
        """Write all bytes."""
        self.crc = zlib.crc32(payload, self.crc)
        return self._file.write(payload)
