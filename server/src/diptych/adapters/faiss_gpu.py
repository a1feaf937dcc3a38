"""Copies of rows on a GPU, by FAISS's build for GPUs, and whether there is one. Knows no index of ours.

Its calls go through the gate of the GPU, and so does giving memory back: one beside a capture of onnxruntime
would spoil both, and FAISS ends the process over memory that it cannot free.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from diptych.adapters.cuda_driver import first_gpu
from diptych.adapters.gpu_gate import GATE
from diptych.core.types import Embedding, Embeddings, Keys
from diptych.errors import ConfigError

GPU: Any = faiss  # its types are those of a build without GPUs
MAX_K = 2048  # more than that its selection on the GPU refuses
TEMPORARY_BYTES = 128 << 20  # its own default takes more than a gigabyte of a large card for good
MIN_CUDA = (12, 0)  # which its wheels bring; before a driver that is older they end the process
PROBE_DIM, PROBE_ROWS, PROBE_PLACE, PROBE_ERROR = 32, 100, 7, 1e-5
# Between the GPU's sum of the products of two unit vectors and the CPU's: both in float32, in other orders.
MAX_ERROR = 2e-5


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

    @property
    def resources(self) -> Any:
        """FAISS's own, made when they are first asked for, within the gate."""
        if self._resources is None:
            self._resources = GPU.StandardGpuResources()
            self._resources.setTempMemory(TEMPORARY_BYTES)
        return self._resources

    def probe(self) -> None:
        """Search a few rows. Raises ConfigError unless that gives what the CPU gives."""
        rows = probe_rows(PROBE_ROWS)
        copy, failure = None, ""
        try:
            copy = self.copy(PROBE_DIM)
            copy.add(np.arange(PROBE_ROWS, dtype=np.int64), rows)
            places, cosines = copy.nearest(rows[PROBE_PLACE], PROBE_ROWS)
        except Exception as error:
            failure = short(error)
        if copy is not None:  # past the error, which holds on to the index as well
            copy.close()
        if failure:
            raise ConfigError(f"faiss {faiss.__version__} fails on the GPU: {failure}")
        require_right(rows, places, cosines)

    def copy(self, embed_dim: int) -> "GpuRows":
        """An empty one. Raises what FAISS raises."""
        with GATE.beside_others():
            return GpuRows(self.flat(embed_dim))

    def flat(self, embed_dim: int) -> Any:
        """An empty index of FAISS's that compares all rows; to be made, used and freed within the gate."""
        config = GPU.GpuIndexFlatConfig()
        config.device = 0
        # float32 throughout: FAISS forbids its products to round to fewer bits.
        return GPU.GpuIndexFlatIP(self.resources, embed_dim, config)


class GpuRows:
    """Rows on the GPU by their places 0, 1, 2 ...; `dead` are places whose rows are no longer wanted.

    All are compared, or, where there are `n_lists`, those of the `n_probes` nearest to the query; `recall` is
    the share of the nearest that this finds. `why`: what else is to be said of it.
    To be closed by whoever lets go of it, or its memory is freed beside a capture.
    """

    def __init__(self, index: Any, n_lists: int = 0, why: str = "") -> None:
        self._index = index
        self.n_lists, self.n_probes, self.recall, self.why = n_lists, n_lists, 1.0, why
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

    def reserve(self, n_rows: int) -> None:
        """Room in lists for so many, at once: each would else be copied again and again as it grows."""
        with GATE.beside_others():
            self._index.reserveMemory(n_rows)

    def seal(self) -> None:
        """Nothing is added from now on. Raises what FAISS raises."""
        if self.n_lists:  # which have grown by more than they needed
            with GATE.beside_others():
                self._index.reclaimMemory()
        self.keys = np.concatenate(self._keys) if self._keys else self.keys
        self._keys.clear()
        self.dead = np.zeros(len(self.keys), np.bool_)
        self._order = np.argsort(self.keys, kind="stable")

    def bury(self, keys: Keys) -> None:
        """Those of them that are here are dead."""
        places, is_here = self._places(keys)
        self.dead[places[is_here]] = True

    def holds(self, keys: Keys) -> NDArray[np.bool_]:
        """(N,) -> (N,): whether each is here and not dead, once it is sealed."""
        places, is_here = self._places(keys)
        is_here[is_here] = ~self.dead[places[is_here]]
        return is_here

    def nearest(self, query: Embedding, k: int) -> tuple[Keys, Embedding]:
        """At most k (places, cosines as the GPU sums them up), best first; k is at most MAX_K."""
        places, cosines = (found[0] for found in self.nearest_of(query[np.newaxis], k, self.n_probes))
        return places[places >= 0], cosines[places >= 0]

    def nearest_of(self, queries: Embeddings, k: int, n_probes: int) -> tuple[Keys, Embeddings]:
        """(Q, D) -> (Q, at most k) each, places and cosines, place -1 where `n_probes` lists have no more."""
        rows = np.ascontiguousarray(queries, np.float32)
        with GATE.beside_others():
            if self.n_lists:
                self._index.nprobe = n_probes
            # Never with a selector: without cuVS it is ignored in silence.
            cosines, places = self._index.search(rows, min(k, self.n_rows))
        return places, cosines

    def _places(self, keys: Keys) -> tuple[Keys, NDArray[np.bool_]]:
        """(N,) -> (N,) each: the place of each key, and whether it is one."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
        at = np.minimum(np.searchsorted(self.keys, keys, sorter=self._order), len(self.keys) - 1)
        places = self._order[at]
        return places, self.keys[places] == keys

    def close(self) -> None:
        """Give the GPU's memory back. Nothing is called afterwards."""
        with GATE.beside_others():
            self._index = None


def probe_rows(n_rows: int) -> Embeddings:
    """(N, PROBE_DIM) of unit norm; that at PROBE_PLACE is looked for."""
    rows = np.random.default_rng(0).standard_normal((n_rows, PROBE_DIM)).astype(np.float32)
    unit: Embeddings = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def require_right(rows: Embeddings, places: Keys, cosines: Embedding) -> None:
    """Raises ConfigError unless all of the probe's rows were found, with the cosines that they have."""
    off = float(np.abs(cosines - (rows @ rows[PROBE_PLACE])[places]).max(initial=0.0))
    n_found, wrong = len(np.unique(places)), ""
    if not off <= PROBE_ERROR:
        wrong = f"a cosine is off by {off:.2g}"
    elif n_found < len(rows):
        wrong = f"{n_found} of {len(rows)} rows are found"
    elif places[0] != PROBE_PLACE:
        wrong = "a row is not the nearest to itself"
    if wrong:
        raise ConfigError(f"faiss {faiss.__version__} computes wrongly on the GPU: {wrong}")


def short(error: BaseException) -> str:
    """The end of what FAISS says, where the fact is, on one line."""
    return " ".join(str(error).split())[-200:] or type(error).__name__
