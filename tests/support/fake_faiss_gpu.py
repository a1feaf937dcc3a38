"""FAISS as built for GPUs on a machine that has one, computed by the CPU.

    gpu = FakeFaissGpu().install(monkeypatch)       # a GPU that works
    gpu.fails_with = RuntimeError("cudaMalloc ...")  # one that does not any more

Its index is a real flat one that takes what the real `GpuIndexFlatIP` takes and no more: no selectors, at
most 2,048 hits. Its cosines are off by what another order of the sum makes. An index that is freed out of
turn, where a capture could run, is told of in `freed_beside_captures`.
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
    max_rows: int | None = None  # that its memory holds, of all indexes that are still there
    noise: float = 1e-7  # of its cosines
    threads: set[str] = field(default_factory=set)  # that used it
    n_searches: int = 0
    asked: list[int] = field(default_factory=list)  # hits of each search
    n_rows: list[int] = field(default_factory=list)  # of each index that was made
    n_freed: int = 0
    freed_beside_captures: int = 0  # of those
    alive: "weakref.WeakSet[_Index]" = field(default_factory=weakref.WeakSet)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeFaissGpu":
        """For the rest of the test."""
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: self.n_gpus, raising=False)
        monkeypatch.setattr(faiss_gpu, "first_gpu", lambda: self.driver)
        monkeypatch.setattr(faiss, "StandardGpuResources", _Resources, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexFlatConfig", _Config, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexFlatIP", self._index, raising=False)
        return self

    def _index(self, resources: "_Resources", embed_dim: int, config: "_Config") -> "_Index":
        assert isinstance(resources, _Resources)
        assert config.device < self.n_gpus, "Invalid GPU device"
        made = _Index(self, embed_dim, len(self.n_rows))
        self.n_rows.append(0)
        self.alive.add(made)
        return made


class _Resources:
    def setTempMemory(self, n_bytes: int) -> None:
        assert n_bytes > 0


@dataclass
class _Config:
    device: int = 0


class _Index:
    def __init__(self, gpu: FakeFaissGpu, embed_dim: int, number: int) -> None:
        self._gpu, self._number, self._flat = gpu, number, faiss.IndexFlatIP(embed_dim)
        self._rng = np.random.default_rng(0)

    @property
    def ntotal(self) -> int:
        return int(self._flat.ntotal)

    def add(self, rows: Any) -> None:
        self._used()
        taken = sum(one.ntotal for one in self._gpu.alive) + len(rows)
        if self._gpu.max_rows is not None and taken > self._gpu.max_rows:
            raise RuntimeError("StandardGpuResources: alloc fail (cudaMalloc error out of memory [2])")
        self._flat.add(rows)
        self._gpu.n_rows[self._number] = self.ntotal

    def search(self, rows: Any, k: int) -> Any:
        self._used()
        assert 0 < k <= MAX_K, f"GPU index only supports k up to {MAX_K}, not {k}"
        self._gpu.n_searches += 1
        self._gpu.asked.append(k)
        cosines, places = self._flat.search(rows, self.ntotal)
        noisy = cosines + self._rng.uniform(-1, 1, cosines.shape).astype(np.float32) * self._gpu.noise
        order = np.argsort(-noisy, axis=1)[:, :k]
        return np.take_along_axis(noisy, order, axis=1), np.take_along_axis(places, order, axis=1)

    def __del__(self) -> None:
        self._gpu.n_freed += 1
        self._gpu.freed_beside_captures += not GATE._n_calls

    def _used(self) -> None:
        assert GATE._n_calls, "it is called where a capture could run"
        self._gpu.threads.add(threading.current_thread().name)
        if self._gpu.fails_with is not None:
            # Anew each time: an error that is kept holds on to the frames that it went through.
            raise type(self._gpu.fails_with)(*self._gpu.fails_with.args)
