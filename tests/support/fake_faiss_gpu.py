"""A fake of FAISS built for GPUs, on a machine that has one. The CPU computes.

    gpu = FakeFaissGpu().install(monkeypatch)       # a GPU that works
    gpu.fails_with = RuntimeError("cudaMalloc ...")  # one that does not any more

Its index is a real CPU index that accepts only what the real `GpuIndexFlatIP` accepts: no selectors, at most
2,048 hits. Its cosines differ as much as another order of summation makes them.
"""

import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
import pytest

from support.fake_cuda_bindings import FakeGpu

MAX_K = 2048


@dataclass
class FakeFaissGpu:
    """The properties of the machine, and a record of calls. Attributes may be changed at any time."""

    n_gpus: int = 1
    gpu: FakeGpu = field(default_factory=FakeGpu)
    fails_with: Exception | None = None  # raised by whatever is asked
    max_rows: int | None = None  # that its memory holds, of all indexes that are still there
    noise: float = 1e-7  # of its cosines
    threads: set[str] = field(default_factory=set)  # that used it
    asked: list[int] = field(default_factory=list)  # hits of each search
    n_rows: list[int] = field(default_factory=list)  # of each index that was made to hold rows
    alive: "weakref.WeakSet[_Flat]" = field(default_factory=weakref.WeakSet)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeFaissGpu":
        """Install it for the rest of the test, with the driver of its GPU."""
        self.gpu.install(monkeypatch)
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: self.n_gpus, raising=False)
        monkeypatch.setattr(faiss, "StandardGpuResources", _Resources, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexFlatConfig", _Config, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexFlatIP", self._flat, raising=False)
        return self

    def _flat(self, resources: "_Resources", embed_dim: int, config: "_Config") -> "_Flat":
        assert isinstance(resources, _Resources)
        assert config.device < self.n_gpus, "Invalid GPU device"
        return _Flat(self, embed_dim)


class _Resources:
    def setTempMemory(self, n_bytes: int) -> None:
        assert n_bytes > 0


@dataclass
class _Config:
    device: int = 0


class _Flat:
    def __init__(self, gpu: FakeFaissGpu, embed_dim: int) -> None:
        self._gpu, self._rng = gpu, np.random.default_rng(0)
        self._index: Any = faiss.IndexFlatIP(embed_dim)
        self._number = -1
        gpu.alive.add(self)

    @property
    def ntotal(self) -> int:
        return int(self._index.ntotal)

    def add(self, rows: Any) -> None:
        self._used()
        if self._number < 0:
            self._number = len(self._gpu.n_rows)
            self._gpu.n_rows.append(0)
        taken = sum(one.ntotal for one in self._gpu.alive) + len(rows)
        if self._gpu.max_rows is not None and taken > self._gpu.max_rows:
            raise RuntimeError("StandardGpuResources: alloc fail (cudaMalloc error out of memory [2])")
        self._index.add(rows)
        self._gpu.n_rows[self._number] = self.ntotal

    def search(self, rows: Any, k: int) -> Any:
        self._used()
        assert 0 < k <= MAX_K, f"GPU index only supports k up to {MAX_K}, not {k}"
        self._gpu.asked.append(k)
        cosines, places = self._index.search(rows, self.ntotal)
        noisy = cosines + self._rng.uniform(-1, 1, cosines.shape).astype(np.float32) * self._gpu.noise
        order = np.argsort(-noisy, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(noisy, order, axis=1), np.take_along_axis(places, order, axis=1)

    def _used(self) -> None:
        self._gpu.threads.add(threading.current_thread().name)
        if self._gpu.fails_with is not None:
            # Anew each time: an error that is kept holds on to the frames that it went through.
            raise type(self._gpu.fails_with)(*self._gpu.fails_with.args)
