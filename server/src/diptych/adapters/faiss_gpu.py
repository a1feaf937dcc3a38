"""Copies of rows on a GPU, by FAISS's build for GPUs, and whether there is one. Knows no index of ours.

Its calls go through the gate of the GPU, and so does giving memory back: one beside a capture of onnxruntime
would spoil both, and FAISS ends the process over memory that it cannot free.
"""

from typing import Any

import faiss
import numpy as np

from diptych.adapters.cuda_driver import first_gpu
from diptych.adapters.gpu_gate import GATE
from diptych.core.types import Embedding, Embeddings, Keys
from diptych.errors import ConfigError

GPU: Any = faiss  # its types are those of a build without GPUs
MAX_K = 2048  # more than that its selection on the GPU refuses
TEMPORARY_BYTES = 128 << 20  # its own default takes more than a gigabyte of a large card for good
MIN_CUDA = (12, 0)  # which its wheels bring; before a driver that is older they end the process
PROBE_DIM, PROBE_ROWS, PROBE_ERROR = 32, 100, 1e-5


def require_gpu() -> None:
    """Raises ConfigError that says why FAISS has no GPU here."""
    if not hasattr(faiss, "StandardGpuResources"):
        raise ConfigError(
            f"faiss {faiss.__version__} is built without GPUs: faiss-gpu in place of faiss-cpu has them"
        )
    # The driver is asked first: FAISS ends the process over whatever that answers but "no GPU".
    gpu = first_gpu()
    if gpu.cuda < MIN_CUDA:
        found, least = (".".join(map(str, version)) for version in (gpu.cuda, MIN_CUDA))
        raise ConfigError(
            f"the NVIDIA driver of {gpu.name} runs CUDA up to {found} only, faiss needs {least}"
        )
    if not GPU.get_num_gpus():
        raise ConfigError(f"faiss {faiss.__version__} finds no GPU")


class FaissGpu:
    """The first GPU. What is made of it belongs to the thread that made the first of its copies.

    FAISS's resources of a GPU are not safe to use from two threads, not even to search.
    """

    def __init__(self) -> None:
        self._resources: Any = None

    def probe(self) -> None:
        """Search a few rows. Raises ConfigError unless that gives what the CPU gives."""
        rows = np.random.default_rng(0).standard_normal((PROBE_ROWS, PROBE_DIM)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        copy, failure = None, ""
        try:
            copy = self.copy(PROBE_DIM)
            copy.add(np.arange(PROBE_ROWS, dtype=np.int64), rows)
            places, cosines = copy.nearest(rows[7], PROBE_ROWS)
        except Exception as error:
            failure = short(error)
        if copy is not None:  # past the error, which holds on to the index as well
            copy.close()
        if failure:
            raise ConfigError(f"faiss {faiss.__version__} fails on the GPU: {failure}")
        off = float(np.abs(cosines - (rows @ rows[7])[places]).max())
        if places[0] != 7 or len(np.unique(places)) != PROBE_ROWS or off > PROBE_ERROR:
            raise ConfigError(
                f"faiss {faiss.__version__} computes wrongly on the GPU: a cosine is off by {off:.2g}"
            )

    def copy(self, embed_dim: int) -> "GpuRows":
        """An empty one. Raises what FAISS raises."""
        config = GPU.GpuIndexFlatConfig()
        config.device = 0
        with GATE.beside_others():
            if self._resources is None:
                self._resources = GPU.StandardGpuResources()
                self._resources.setTempMemory(TEMPORARY_BYTES)
            # float32 throughout: FAISS forbids its products to round to fewer bits.
            return GpuRows(GPU.GpuIndexFlatIP(self._resources, embed_dim, config))


class GpuRows:
    """Rows on the GPU by their places 0, 1, 2 ...; `dead` are places whose rows are no longer wanted.

    To be closed by whoever lets go of it, or its memory is freed beside a capture.
    """

    def __init__(self, index: Any) -> None:
        self._index = index
        self.n_rows = 0  # dead ones included
        self._keys: list[Keys] = []
        self.keys: Keys = np.empty(0, np.int64)  # by place, once it is sealed
        self.dead = np.empty(0, np.bool_)
        self._order = np.empty(0, np.int64)

    @property
    def n_dead(self) -> int:
        """Of them."""
        return int(np.count_nonzero(self.dead))

    def add(self, keys: Keys, rows: Embeddings) -> None:
        """(N,) and (N, D), before it is sealed. Raises what FAISS raises, as when memory is short."""
        with GATE.beside_others():
            self._index.add(np.ascontiguousarray(rows, np.float32))
        self._keys.append(keys)
        self.n_rows += len(keys)

    def seal(self) -> None:
        """Nothing is added from now on."""
        self.keys = np.concatenate(self._keys) if self._keys else self.keys
        self._keys.clear()
        self.dead = np.zeros(len(self.keys), np.bool_)
        self._order = np.argsort(self.keys, kind="stable")

    def bury(self, keys: Keys) -> None:
        """Those of them that are here are dead."""
        if not len(self.keys):
            return
        at = np.minimum(np.searchsorted(self.keys, keys, sorter=self._order), len(self.keys) - 1)
        places = self._order[at]
        self.dead[places[self.keys[places] == keys]] = True

    def nearest(self, query: Embedding, k: int) -> tuple[Keys, Embedding]:
        """At most k (places, cosines as the GPU sums them up), best first; k is at most MAX_K."""
        row = np.ascontiguousarray(query[np.newaxis], np.float32)  # (1, D)
        # Never with a selector: without cuVS it is ignored in silence.
        with GATE.beside_others():
            cosines, places = (found[0] for found in self._index.search(row, min(k, self.n_rows)))
        return places[places >= 0], cosines[places >= 0]

    def close(self) -> None:
        """Give the GPU's memory back. Nothing is called afterwards."""
        with GATE.beside_others():
            self._index = None


def short(error: BaseException) -> str:
    """The end of what FAISS says, where the fact is, on one line."""
    return " ".join(str(error).split())[-200:] or type(error).__name__
