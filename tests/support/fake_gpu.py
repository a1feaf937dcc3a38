"""NVIDIA's driver as on a machine with a GPU, through C's calling convention; its memory is the host's.

    gpu = FakeGpu().install(monkeypatch)

What is asked of a stream is done when somebody waits for it, and memory of the host and of the GPU are told
apart: a copy that nobody waits for brings nothing, and one between the wrong places fails.
"""

import ctypes
import threading
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_char, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

import pytest

from diptych.adapters.cuda_driver import first_gpu
from diptych.adapters.cuda_memory import CudaMemory
from diptych.adapters.gpu_gate import GATE

DEVICE, CONTEXT = 7, 0xC0  # handles, no numbers
INVALID_VALUE, INVALID_CONTEXT, INVALID_HANDLE = 1, 201, 400
Done = Callable[[], None]


class FakeGpu:
    """What the machine is like, and what it was asked for. Attributes may be changed at any time."""

    def __init__(self, name: str = "NVIDIA H100", capability: tuple[int, int] = (9, 0)) -> None:
        self.name = name
        self.capability = capability
        self.fails: dict[str, int] = {}  # what calls answer that do not work
        self.on_gpu: dict[int, Any] = {}  # memory by its address
        self.on_host: dict[int, Any] = {}
        self.streams: dict[int, list[Done]] = {}  # what waits in each
        self.n_waits = 0
        self.freed: list[bool] = []  # of each memory: whether nothing could capture then
        self._current = threading.local()
        self._functions: dict[str, Any] = {}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeGpu":
        """For the rest of the test, whoever loads the driver."""
        monkeypatch.setattr(first_gpu, "__defaults__", (self.load,))
        monkeypatch.setattr(CudaMemory.__init__, "__defaults__", (self.load,))
        return self

    def load(self, library: str) -> "FakeGpu":
        """As ctypes.CDLL."""
        return self

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)
        types, function = _CALLS[name]
        if name not in self._functions:

            def call(*values: Any) -> int:
                return self.fails.get(name) or function(self, *values)

            self._functions[name] = CFUNCTYPE(c_int, *types)(call)
        return self._functions[name]

    def enqueue(self, stream: int | None, work: Done) -> int:
        """Later, in the stream's order."""
        if not getattr(self._current, "entered", False):
            return INVALID_CONTEXT
        if stream not in self.streams:
            return INVALID_HANDLE
        self.streams[stream].append(work)
        return 0

    def set_current(self, context: int) -> int:
        self._current.entered = context == CONTEXT
        return 0 if self._current.entered else INVALID_CONTEXT

    def allocate(self, into: Any, n_bytes: int, where: dict[int, Any]) -> int:
        if not getattr(self._current, "entered", False):
            return INVALID_CONTEXT
        memory = ctypes.create_string_buffer(b"\xff" * n_bytes, n_bytes)  # never zeros by chance
        into[0] = ctypes.addressof(memory)
        where[ctypes.addressof(memory)] = memory
        return 0

    def copy(self, target: int, source: int, n_bytes: int, stream: int, *, to_gpu: bool) -> int:
        places = (self.on_gpu, self.on_host) if to_gpu else (self.on_host, self.on_gpu)
        for address, place in zip((target, source), places, strict=True):
            if address not in place or n_bytes > len(place[address]):
                return INVALID_VALUE
        return self.enqueue(stream, lambda: ctypes.memmove(target, source, n_bytes) and None)

    def wait(self, stream: int) -> int:
        self.n_waits += 1
        work, self.streams[stream] = self.streams[stream], []
        for one in work:
            one()
        return 0


def _put(value: int) -> Any:
    def put(gpu: FakeGpu, into: Any, *_: Any) -> int:
        into[0] = value
        return 0

    return put


def _name(gpu: FakeGpu, into: Any, n_bytes: int, device: int) -> int:
    name = gpu.name.encode()[: n_bytes - 1] + b"\0"
    ctypes.memmove(into, name, len(name))
    return 0


def _attribute(gpu: FakeGpu, into: Any, attribute: int, device: int) -> int:
    into[0] = gpu.capability[attribute - 75]
    return 0


def _stream(gpu: FakeGpu, into: Any, flags: int) -> int:
    handle = 0x1000 + len(gpu.streams)
    gpu.streams[handle] = []
    into[0] = handle
    return 0


def _gone(place: str) -> Any:
    def free(gpu: FakeGpu, address: int) -> int:
        gpu.freed.append(bool(GATE._n_calls or GATE._n_loads) or GATE._is_alone)
        return INVALID_VALUE if getattr(gpu, place).pop(address, None) is None else 0

    return free


_CALLS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "cuInit": ((c_uint,), lambda gpu, flags: 0),
    "cuDriverGetVersion": ((POINTER(c_int),), _put(13000)),
    "cuDeviceGet": ((POINTER(c_int), c_int), _put(DEVICE)),
    "cuDeviceGetName": ((POINTER(c_char), c_int, c_int), _name),
    "cuDeviceGetAttribute": ((POINTER(c_int), c_int, c_int), _attribute),
    "cuDevicePrimaryCtxRetain": ((POINTER(c_void_p), c_int), _put(CONTEXT)),
    "cuCtxSetCurrent": ((c_void_p,), FakeGpu.set_current),
    "cuStreamCreate": ((POINTER(c_void_p), c_uint), _stream),
    "cuStreamDestroy_v2": ((c_void_p,), _gone("streams")),
    "cuStreamSynchronize": ((c_void_p,), FakeGpu.wait),
    "cuMemAlloc_v2": ((POINTER(c_uint64), c_size_t), lambda gpu, into, n: gpu.allocate(into, n, gpu.on_gpu)),
    "cuMemFree_v2": ((c_uint64,), _gone("on_gpu")),
    "cuMemHostAlloc": (
        (POINTER(c_void_p), c_size_t, c_uint),
        lambda gpu, into, n, flags: gpu.allocate(into, n, gpu.on_host),
    ),
    "cuMemFreeHost": ((c_void_p,), _gone("on_host")),
    "cuMemcpyHtoDAsync_v2": (
        (c_uint64, c_void_p, c_size_t, c_void_p),
        lambda gpu, target, source, n, stream: gpu.copy(target, source, n, stream, to_gpu=True),
    ),
    "cuMemcpyDtoHAsync_v2": (
        (c_void_p, c_uint64, c_size_t, c_void_p),
        lambda gpu, target, source, n, stream: gpu.copy(target, source, n, stream, to_gpu=False),
    ),
}
