"""FAISS as built for GPUs on a machine that has one, computed by the CPU.

    gpu = FakeFaissGpu().install(monkeypatch)       # a GPU that works
    gpu.fails_with = RuntimeError("cudaMalloc ...")  # one that does not any more

Its indexes are real ones of the CPU that take what the real `GpuIndexFlatIP` and `GpuIndexIVFFlat` take and
no more: no selectors, at most 2,048 hits and lists. Their cosines are off by what another order of the sum
makes. An index that is freed out of turn, where a capture could run, is told of in `freed_beside_captures`.
"""

import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
import pytest

from diptych.adapters import faiss_gpu
from diptych.adapters.cuda_driver import Gpu
from diptych.adapters.gpu_gate import GATE

MAX_K = 2048


@dataclass
class FakeFaissGpu:
    """What the machine is like, and what it was asked for. Attributes may be changed at any time."""

    n_gpus: int = 1
    driver: Gpu = field(default=Gpu("A card", (13, 0), (9, 0)))
    fails_with: Exception | None = None  # raised by whatever is asked
    fails_in_batches: bool = False  # where several queries are searched at once
    max_rows: int | None = None  # that its memory holds, of all indexes that are still there
    noise: float = 1e-7  # of its cosines
    loses_rows: bool = False  # the last of each that are put in lists
    bad_lists: bool = False  # rows are put in lists at random, as by centroids that are no good
    threads: set[str] = field(default_factory=set)  # that used it
    n_searches: int = 0
    asked: list[int] = field(default_factory=list)  # hits of each search
    n_rows: list[int] = field(default_factory=list)  # of each index that was made to hold rows
    n_lists: list[int] = field(default_factory=list)  # of each index that was made in lists
    n_probes: list[int] = field(default_factory=list)  # lists that each search looked into
    n_freed: int = 0
    freed_beside_captures: int = 0  # of those
    alive: "weakref.WeakSet[_OnGpu]" = field(default_factory=weakref.WeakSet)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeFaissGpu":
        """For the rest of the test."""
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: self.n_gpus, raising=False)
        monkeypatch.setattr(faiss_gpu, "first_gpu", lambda: self.driver)
        monkeypatch.setattr(faiss, "StandardGpuResources", _Resources, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexFlatConfig", _Config, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexFlatIP", self._flat, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexIVFFlatConfig", _Config, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexIVFFlat", self._lists, raising=False)
        return self

    def _flat(self, resources: "_Resources", embed_dim: int, config: "_Config") -> "_Flat":
        self._require(resources, config)
        return _Flat(self, embed_dim)

    def _lists(
        self,
        resources: "_Resources",
        quantizer: "_Flat",
        embed_dim: int,
        n_lists: int,
        metric: int,
        config: "_Config",
    ) -> "_Lists":
        self._require(resources, config)
        assert (quantizer.ntotal, metric) == (n_lists, faiss.METRIC_INNER_PRODUCT), "it is not trained"
        self.n_lists.append(n_lists)
        return _Lists(self, quantizer, embed_dim, n_lists)

    def _require(self, resources: "_Resources", config: "_Config") -> None:
        assert isinstance(resources, _Resources)
        assert config.device < self.n_gpus, "Invalid GPU device"


class _Resources:
    def setTempMemory(self, n_bytes: int) -> None:
        assert n_bytes > 0


@dataclass
class _Config:
    device: int = 0


class _OnGpu:
    """What both indexes have: both are FAISS's own classes, as k-means hands one to FAISS itself."""

    gpu: Any = None  # all are named here, as FAISS's classes take no attribute that they do not know
    _number = -1
    _rng: Any = None

    def _begin(self, gpu: FakeFaissGpu) -> None:
        self.gpu, self._rng = gpu, np.random.default_rng(0)
        gpu.alive.add(self)
        assert GATE._n_calls, "it is made where a capture could run"

    def add(self, rows: Any) -> None:
        self._used()
        if self._number < 0:
            self._number = len(self.gpu.n_rows)
            self.gpu.n_rows.append(0)
        taken = sum(one.ntotal for one in self.gpu.alive) + len(rows)
        if self.gpu.max_rows is not None and taken > self.gpu.max_rows:
            raise RuntimeError("StandardGpuResources: alloc fail (cudaMalloc error out of memory [2])")
        self._put(rows)
        self.gpu.n_rows[self._number] = self.ntotal

    def search(self, rows: Any, k: int) -> Any:
        self._used()
        assert 0 < k <= MAX_K, f"GPU index only supports k up to {MAX_K}, not {k}"
        if self.gpu.fails_in_batches and len(rows) > 1:
            raise RuntimeError("CUDA error 700 an illegal memory access")
        self.gpu.n_searches += 1
        self.gpu.asked.append(k)
        cosines, places = self._found(rows)
        noisy = cosines + self._rng.uniform(-1, 1, cosines.shape).astype(np.float32) * self.gpu.noise
        order = np.argsort(-noisy, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(noisy, order, axis=1), np.take_along_axis(places, order, axis=1)

    def __del__(self) -> None:
        self.gpu.n_freed += 1
        self.gpu.freed_beside_captures += not GATE._n_calls

    def _used(self) -> None:
        assert GATE._n_calls, "it is called where a capture could run"
        self.gpu.threads.add(threading.current_thread().name)
        if self.gpu.fails_with is not None:
            # Anew each time: an error that is kept holds on to the frames that it went through.
            raise type(self.gpu.fails_with)(*self.gpu.fails_with.args)


class _Flat(_OnGpu, faiss.IndexFlatIP):
    def __init__(self, gpu: FakeFaissGpu, embed_dim: int) -> None:
        faiss.IndexFlatIP.__init__(self, embed_dim)
        self._begin(gpu)

    def _put(self, rows: Any) -> None:
        faiss.IndexFlatIP.add(self, rows)

    def _found(self, rows: Any) -> Any:
        return faiss.IndexFlatIP.search(self, rows, self.ntotal)


class _Lists(_OnGpu):
    def __init__(self, gpu: FakeFaissGpu, quantizer: _Flat, embed_dim: int, n_lists: int) -> None:
        self._quantizer = quantizer  # the real one keeps it, too
        centroids = faiss.IndexFlatIP(embed_dim)
        centroids.add(quantizer.reconstruct_n(0, n_lists))
        self._centroids = centroids
        self._index: Any = faiss.IndexIVFFlat(centroids, embed_dim, n_lists, faiss.METRIC_INNER_PRODUCT)
        assert self._index.is_trained
        self.nprobe, self.n_reserved, self.is_reclaimed = 1, 0, False
        self._begin(gpu)

    @property
    def ntotal(self) -> int:
        return int(self._index.ntotal)

    def reserveMemory(self, n_rows: int) -> None:
        self._used()
        self.n_reserved = n_rows

    def reclaimMemory(self) -> int:
        self._used()
        self.is_reclaimed = True
        return 0

    def _put(self, rows: Any) -> None:
        assert not self.is_reclaimed, "it is sealed"
        if self.gpu.loses_rows:
            rows = rows[:-1]
        if self.gpu.bad_lists:
            lists = self._rng.integers(0, self._index.nlist, len(rows))
            self._index.add_core(
                len(rows), faiss.swig_ptr(np.ascontiguousarray(rows)), None, faiss.swig_ptr(lists)
            )
        else:
            self._index.add(rows)

    def _found(self, rows: Any) -> Any:
        assert 0 < self.nprobe <= MAX_K, f"nprobe {self.nprobe}"
        self.gpu.n_probes.append(self.nprobe)
        self._index.nprobe = self.nprobe
        return self._index.search(rows, self.ntotal)
