"""A fake of NVIDIA's package `cuda.bindings` on a machine with a GPU, whose memory is that of the host.

    gpu = FakeGpu().install(monkeypatch)

Work on a stream is done only when somebody waits for the stream, and host and GPU memory are kept apart: a
copy that nobody waits for copies nothing, and a copy between the wrong kinds of memory fails.
"""

import ctypes
import sys
from collections.abc import Callable
from enum import Enum, IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

Status = IntEnum(
    "cudaError_t",
    {
        "cudaSuccess": 0,
        "cudaErrorInvalidValue": 1,
        "cudaErrorMemoryAllocation": 2,
        "cudaErrorInsufficientDriver": 35,
        "cudaErrorNoDevice": 100,
        "cudaErrorInvalidResourceHandle": 400,
        "cudaErrorSystemDriverMismatch": 803,
    },
)
CopyKind = Enum("cudaMemcpyKind", ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"])
OK = Status["cudaSuccess"]
INVALID = Status["cudaErrorInvalidValue"]


class FakeGpu:
    """The properties of the machine, and a record of calls. Attributes may be changed at any time."""

    def __init__(self, name: str = "NVIDIA H100", capability: tuple[int, int] = (9, 0)) -> None:
        self.name = name
        self.capability = capability
        self.cuda = 13000  # the newest that its driver runs; 0 where there is no driver
        self.free_bytes = 80 << 30
        self.fails: dict[str, str] = {}  # names of functions, and of what they answer
        self.answers: dict[str, Callable[..., Any]] = {}  # what takes the place of functions
        self.on_gpu: dict[int, Any] = {}  # memory by its address
        self.on_host: dict[int, Any] = {}
        self.streams: dict[int, list[Callable[[], Any]]] = {}  # what waits in each

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeGpu":
        """Replace the package for the rest of the test."""
        runtime: Any = ModuleType("cuda.bindings.runtime")
        runtime.cudaHostAllocDefault, runtime.cudaStreamNonBlocking = 0, 1
        runtime.cudaMemcpyKind = CopyKind
        for function in (
            self.cudaDriverGetVersion, self.cudaGetDeviceCount, self.cudaGetDeviceProperties,
            self.cudaMemGetInfo, self.cudaHostAlloc, self.cudaFreeHost, self.cudaMalloc, self.cudaFree,
            self.cudaStreamCreateWithFlags, self.cudaStreamDestroy, self.cudaMemcpyAsync,
            self.cudaStreamSynchronize,
        ):  # fmt: skip
            setattr(runtime, function.__name__, self._or_failing(function))
        bindings: Any = ModuleType("cuda.bindings")
        bindings.runtime = runtime
        for name, module in (("cuda", ModuleType("cuda")), ("cuda.bindings", bindings)):
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
        return self

    def enqueue(self, stream: int, work: Callable[[], Any]) -> bool:
        """Queue work on a stream. Return whether the stream exists."""
        if stream in self.streams:
            self.streams[stream].append(work)
        return stream in self.streams

    def _or_failing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__

        def call(*values: Any) -> Any:
            if name in self.fails:
                return Status[self.fails[name]], None
            return self.answers.get(name, function)(*values)

        call.__name__ = name
        return call

    def cudaDriverGetVersion(self) -> Any:
        return OK, self.cuda

    def cudaGetDeviceCount(self) -> Any:
        return (OK, 1) if self.cuda else (Status["cudaErrorInsufficientDriver"], None)

    def cudaGetDeviceProperties(self, device: int) -> Any:
        major, minor = self.capability
        return OK, SimpleNamespace(name=self.name.encode(), major=major, minor=minor)

    def cudaMemGetInfo(self) -> Any:
        return OK, self.free_bytes, 80 << 30

    def cudaHostAlloc(self, n_bytes: int, flags: int) -> Any:
        return OK, _allocated(n_bytes, self.on_host)

    def cudaFreeHost(self, address: int) -> Any:
        return (OK if self.on_host.pop(address, None) is not None else INVALID,)

    def cudaMalloc(self, n_bytes: int) -> Any:
        return OK, _allocated(n_bytes, self.on_gpu)

    def cudaFree(self, address: int) -> Any:
        return (OK if self.on_gpu.pop(address, None) is not None else INVALID,)

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        handle = 0x1000 + len(self.streams)
        self.streams[handle] = []
        return OK, handle

    def cudaStreamDestroy(self, stream: int) -> Any:
        return (OK if self.streams.pop(stream, None) is not None else INVALID,)

    def cudaMemcpyAsync(self, target: int, source: int, n_bytes: int, kind: CopyKind, stream: int) -> Any:
        to_gpu = kind is CopyKind["cudaMemcpyHostToDevice"]
        places = (self.on_gpu, self.on_host) if to_gpu else (self.on_host, self.on_gpu)
        for address, place in zip((target, source), places, strict=True):
            if address not in place or n_bytes > len(place[address]):
                return (INVALID,)
        is_there = self.enqueue(stream, lambda: ctypes.memmove(target, source, n_bytes))
        return (OK if is_there else Status["cudaErrorInvalidResourceHandle"],)

    def cudaStreamSynchronize(self, stream: int) -> Any:
        work, self.streams[stream] = self.streams[stream], []
        for one in work:
            one()
        return (OK,)


def _allocated(n_bytes: int, where: dict[int, Any]) -> int:
    memory = ctypes.create_string_buffer(b"\xff" * n_bytes, n_bytes)  # never zeros by chance
    where[ctypes.addressof(memory)] = memory
    return ctypes.addressof(memory)
