"""Vectors on a GPU, in FAISS's GPU build, and the check that it works here."""

from typing import Any

import faiss
import numpy as np

from diptych.adapters.gpu import first_gpu, free_bytes
from diptych.core.types import Embedding, Embeddings, Keys
from diptych.errors import ConfigError

GPU: Any = faiss  # typed as a build without GPU classes
MAX_K = 2048  # the maximum of its selection on the GPU
TEMPORARY_BYTES = 128 << 20  # FAISS's default reserves more than a gigabyte of a large GPU
MIN_CUDA = (12, 0)  # that its wheels include; with an older driver they abort the process
PROBE_DIM, PROBE_ROWS, PROBE_ROW, PROBE_ERROR = 32, 100, 7, 1e-5


def require_gpu() -> None:
    """Raises ConfigError saying why FAISS cannot use a GPU here."""
    if not hasattr(faiss, "StandardGpuResources"):
        raise ConfigError(
            f"faiss {faiss.__version__} is built without GPU support: install faiss-gpu instead of faiss-cpu"
        )
    # Ask CUDA first: FAISS aborts the process over any error of CUDA but "no GPU".
    gpu = first_gpu()
    if gpu.cuda < MIN_CUDA:
        found, least = (".".join(map(str, version)) for version in (gpu.cuda, MIN_CUDA))
        raise ConfigError(
            f"the NVIDIA driver of {gpu.name} runs CUDA up to {found} only, faiss needs {least}"
        )
    if not GPU.get_num_gpus():
        raise ConfigError(f"faiss {faiss.__version__} finds no GPU")


class FaissGpu:
    """The first GPU. Everything made from it belongs to the thread that first called `rows`.

    FAISS's GPU resources must not be used from two threads, not even to search.
    """

    def __init__(self) -> None:
        self._resources: Any = None

    def free_bytes(self) -> int:
        """The free bytes of its memory."""
        return free_bytes()

    def rows(self, embed_dim: int) -> "GpuRows":
        """Make an empty `GpuRows`. Raises what FAISS raises."""
        if self._resources is None:
            self._resources = GPU.StandardGpuResources()
            self._resources.setTempMemory(TEMPORARY_BYTES)
        config = GPU.GpuIndexFlatConfig()
        config.device = 0
        # float32 throughout: FAISS does not let its products round to fewer bits.
        return GpuRows(GPU.GpuIndexFlatIP(self._resources, embed_dim, config))

    def probe(self) -> None:
        """Search a few rows. Raises ConfigError unless the result is that of the CPU."""
        rows = np.random.default_rng(0).standard_normal((PROBE_ROWS, PROBE_DIM)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        copy, failure = None, ""
        try:
            copy = self.rows(PROBE_DIM)
            copy.add(np.arange(PROBE_ROWS), rows)
            keys, cosines, _ = copy.nearest(rows[PROBE_ROW], PROBE_ROWS)
        except Exception as error:
            failure = f"fails on the GPU: {short(error)}"
        if copy is not None:  # after the except block, because the error refers to the index as well
            copy.close()
        if not failure:
            failure = _probe_failure(rows, keys, cosines)
        if failure:
            raise ConfigError(f"faiss {faiss.__version__} {failure}")


class GpuRows:
    """Rows on the GPU under their keys. A search compares all of them.

    Removed rows stay in FAISS's index, which ignores selectors on a GPU, and are filtered out of its hits."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._keys: Keys = np.empty(0, np.int64)  # by position in the index
        self._is_live = np.empty(0, np.bool_)

    @property
    def n_rows(self) -> int:
        """The number of rows, removed ones included."""
        return len(self._keys)

    @property
    def n_removed(self) -> int:
        """The number of removed rows."""
        return int(np.count_nonzero(~self._is_live))

    @property
    def keys(self) -> Keys:
        """The keys of the rows that are not removed."""
        return self._keys[self._is_live]

    def add(self, keys: Keys, rows: Embeddings) -> None:
        """Add `rows` (N, D) under `keys` (N,). Raises what FAISS raises, for example without memory."""
        self._index.add(np.ascontiguousarray(rows, np.float32))
        self._keys = np.concatenate([self._keys, keys])
        self._is_live = np.concatenate([self._is_live, np.ones(len(keys), np.bool_)])

    def remove(self, keys: Keys) -> None:
        """Exclude these keys from searches; keys that are not here are ignored."""
        if len(keys):
            self._is_live &= ~np.isin(self._keys, keys)

    def nearest(self, query: Embedding, n: int) -> tuple[Keys, Embedding, float]:
        """Those of the n nearest rows (at most MAX_K) that are not removed, and the cosine of the nth."""
        row = np.ascontiguousarray(query[np.newaxis], np.float32)  # (1, D)
        found, positions_found = self._index.search(row, min(n, self.n_rows))
        cosines, positions = found[0], positions_found[0]
        is_live = self._is_live[positions]
        return self._keys[positions[is_live]], cosines[is_live], float(cosines[-1])

    def close(self) -> None:
        """Free the GPU's memory. No other call may follow."""
        self._index = None


def short(error: BaseException) -> str:
    """The end of FAISS's message on one line, which contains the cause."""
    return " ".join(str(error).split())[-200:] or type(error).__name__


def _probe_failure(rows: Embeddings, keys: Keys, cosines: Embedding) -> str:
    """Return what is wrong with a search for the row at PROBE_ROW among all rows; empty if nothing is."""
    error = float(np.abs(cosines - (rows @ rows[PROBE_ROW])[keys]).max(initial=0.0))
    wrong = ""
    if not error <= PROBE_ERROR:  # true for NaN as well
        wrong = f"a cosine is off by {error:.2g}"
    elif len(np.unique(keys)) < len(rows):
        wrong = f"{len(np.unique(keys))} of {len(rows)} rows are found"
    elif keys[0] != PROBE_ROW:
        wrong = "a row is not the nearest to itself"
    return f"computes wrongly on the GPU: {wrong}" if wrong else ""
