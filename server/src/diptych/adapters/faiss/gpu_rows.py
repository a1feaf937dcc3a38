"""Rows on a GPU, by FAISS's build for GPUs, and whether there is one. Knows no index of ours.

Each call takes its turn with captures of onnxruntime, and so does giving memory back: one beside a capture
would spoil both, and FAISS ends the process over memory that it cannot free.
"""

from typing import Any

import faiss
import numpy as np

from diptych.adapters.cuda.capture_lock import CAPTURE_LOCK
from diptych.adapters.cuda.device import first_gpu, free_bytes
from diptych.core.types import Embedding, Embeddings, Keys
from diptych.errors import ConfigError

GPU: Any = faiss  # its types are those of a build without GPUs
MAX_K = 2048  # more than that its selection on the GPU refuses
TEMPORARY_BYTES = 128 << 20  # its own default takes more than a gigabyte of a large card for good
MIN_CUDA = (12, 0)  # which its wheels bring; before a driver that is older they end the process
PROBE_DIM, PROBE_ROWS, PROBE_PLACE, PROBE_ERROR = 32, 100, 7, 1e-5


def require_gpu() -> None:
    """Raises ConfigError that says why FAISS has no GPU here."""
    if not hasattr(faiss, "StandardGpuResources"):
        raise ConfigError(
            f"faiss {faiss.__version__} is built without GPUs: faiss-gpu in place of faiss-cpu has them"
        )
    # CUDA is asked first: FAISS ends the process over whatever that answers but "no GPU".
    gpu = first_gpu()
    if gpu.cuda < MIN_CUDA:
        found, least = (".".join(map(str, version)) for version in (gpu.cuda, MIN_CUDA))
        raise ConfigError(
            f"the NVIDIA driver of {gpu.name} runs CUDA up to {found} only, faiss needs {least}"
        )
    if not GPU.get_num_gpus():
        raise ConfigError(f"faiss {faiss.__version__} finds no GPU")


class FaissGpu:
    """The first GPU. All that is made of it belongs to the thread that made the first of its copies.

    FAISS's resources of a GPU are not safe to use from two threads, not even to search.
    """

    def __init__(self) -> None:
        self._resources: Any = None

    def free_bytes(self) -> int:
        """Of its memory."""
        with CAPTURE_LOCK.call():
            return free_bytes()

    def rows(self, embed_dim: int) -> "GpuRows":
        """Without a row. Raises what FAISS raises."""
        with CAPTURE_LOCK.call():
            if self._resources is None:
                self._resources = GPU.StandardGpuResources()
                self._resources.setTempMemory(TEMPORARY_BYTES)
            config = GPU.GpuIndexFlatConfig()
            config.device = 0
            # float32 throughout: FAISS forbids its products to round to fewer bits.
            return GpuRows(GPU.GpuIndexFlatIP(self._resources, embed_dim, config))

    def probe(self) -> None:
        """Search a few rows. Raises ConfigError unless that gives what the CPU gives."""
        rows = np.random.default_rng(0).standard_normal((PROBE_ROWS, PROBE_DIM)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        copy, failure = None, ""
        try:
            copy = self.rows(PROBE_DIM)
            copy.add(np.arange(PROBE_ROWS), rows)
            keys, cosines, _ = copy.nearest(rows[PROBE_PLACE], PROBE_ROWS)
        except Exception as error:
            failure = f"fails on the GPU: {short(error)}"
        if copy is not None:  # past the error, which holds on to the index as well
            copy.close()
        if not failure:
            failure = _what_is_wrong(rows, keys, cosines)
        if failure:
            raise ConfigError(f"faiss {faiss.__version__} {failure}")


class GpuRows:
    """Rows on the GPU under their keys, all of which are compared.

    None is taken out of FAISS's index, which ignores selectors on a GPU: those removed are left out of what
    it finds. To be closed by whoever lets go of it, or its memory is freed beside a capture.
    """

    def __init__(self, index: Any) -> None:
        self._index = index
        self._keys: Keys = np.empty(0, np.int64)  # by place
        self._is_live = np.empty(0, np.bool_)

    @property
    def n_rows(self) -> int:
        """Those removed included."""
        return len(self._keys)

    @property
    def n_removed(self) -> int:
        """Of them."""
        return int(np.count_nonzero(~self._is_live))

    @property
    def keys(self) -> Keys:
        """Of those not removed."""
        return self._keys[self._is_live]

    def add(self, keys: Keys, rows: Embeddings) -> None:
        """(N,) and (N, D). Raises what FAISS raises, as when memory is short."""
        with CAPTURE_LOCK.call():
            self._index.add(np.ascontiguousarray(rows, np.float32))
        self._keys = np.concatenate([self._keys, keys])
        self._is_live = np.concatenate([self._is_live, np.ones(len(keys), np.bool_)])

    def remove(self, keys: Keys) -> None:
        """Those of them that are here are not found any more."""
        if len(keys):
            self._is_live &= ~np.isin(self._keys, keys)

    def nearest(self, query: Embedding, n: int) -> tuple[Keys, Embedding, float]:
        """Of the n nearest rows, at most MAX_K, those not removed; and the cosine of the last of the n."""
        row = np.ascontiguousarray(query[np.newaxis], np.float32)  # (1, D)
        with CAPTURE_LOCK.call():
            found, where = self._index.search(row, min(n, self.n_rows))
        cosines, places = found[0], where[0]
        is_live = self._is_live[places]
        return self._keys[places[is_live]], cosines[is_live], float(cosines[-1])

    def close(self) -> None:
        """Give the GPU's memory back. Nothing is called afterwards."""
        with CAPTURE_LOCK.call():
            self._index = None


def short(error: BaseException) -> str:
    """The end of what FAISS says, where the fact is, on one line."""
    return " ".join(str(error).split())[-200:] or type(error).__name__


def _what_is_wrong(rows: Embeddings, keys: Keys, cosines: Embedding) -> str:
    """With a search for the row at PROBE_PLACE among all rows; empty where nothing is."""
    off = float(np.abs(cosines - (rows @ rows[PROBE_PLACE])[keys]).max(initial=0.0))
    wrong = ""
    if not off <= PROBE_ERROR:  # true for NaN as well
        wrong = f"a cosine is off by {off:.2g}"
    elif len(np.unique(keys)) < len(rows):
        wrong = f"{len(np.unique(keys))} of {len(rows)} rows are found"
    elif keys[0] != PROBE_PLACE:
        wrong = "a row is not the nearest to itself"
    return f"computes wrongly on the GPU: {wrong}" if wrong else ""
