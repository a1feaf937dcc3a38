"""The first GPU of this machine, its memory and its streams, by NVIDIA's package `cuda-bindings`.

Uses CUDA's runtime rather than NVML, because it respects `CUDA_VISIBLE_DEVICES` and has memory and streams.
The package is loaded when a GPU is first needed, since only the extras for GPUs install it.
"""

import ctypes
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from diptych.errors import ConfigError, EncoderFailed

NO_GPU = "cudaErrorNoDevice"


@dataclass(frozen=True)
class Gpu:
    """The first GPU that this process may use, and the newest CUDA version that its driver runs."""

    name: str
    cuda: tuple[int, int]  # such as (13, 0)
    compute_capability: tuple[int, int]  # such as (9, 0)


def first_gpu() -> Gpu:
    """Return the first GPU. Raises ConfigError naming the package, the driver or the GPU as missing."""
    try:
        runtime = _runtime()
        version = _call(runtime.cudaDriverGetVersion)
        if not version:
            raise ConfigError("no NVIDIA driver is installed")
        if not _call(runtime.cudaGetDeviceCount):
            raise EncoderFailed(NO_GPU)
        properties = _call(runtime.cudaGetDeviceProperties, 0)
    except EncoderFailed as error:
        found = "finds no GPU" if str(error).endswith(NO_GPU) else f"does not work: {error}"
        raise ConfigError(f"the NVIDIA driver {found}{_hidden()}") from error
    major, rest = divmod(version, 1000)  # 13000 is 13.0, 12040 is 12.4
    name = properties.name.partition(b"\0")[0].decode(errors="replace")
    return Gpu(name, (major, rest // 10), (properties.major, properties.minor))


def free_bytes() -> int:
    """The free bytes of the first GPU's memory. Raises EncoderFailed."""
    free, _ = _call(_runtime().cudaMemGetInfo)
    return int(free)


def page_locked(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros in page-locked memory, which is copied to a GPU at full speed and asynchronously.

    Raises EncoderFailed if there is no such memory left.
    """
    runtime, kind = _runtime(), np.dtype(dtype)
    n_bytes = max(1, int(np.prod(shape)) * kind.itemsize)
    address = int(_call(runtime.cudaHostAlloc, n_bytes, runtime.cudaHostAllocDefault))
    memory: Any = (ctypes.c_uint8 * n_bytes).from_address(address)
    _free_with(memory, runtime.cudaFreeHost, address)  # every view of the array keeps the memory alive
    array: NDArray[Any] = np.frombuffer(memory, kind, count=int(np.prod(shape))).reshape(shape)
    array[...] = 0
    return array


class Stream:
    """A CUDA stream: a queue of work that runs in order, concurrently with other streams.

    Raises EncoderFailed.
    """

    def __init__(self) -> None:
        self._runtime = _runtime()
        made = _call(self._runtime.cudaStreamCreateWithFlags, self._runtime.cudaStreamNonBlocking)
        self.handle = int(made)
        _free_with(self, self._runtime.cudaStreamDestroy, made)

    def copy_in(self, target: "GpuBuffer", source: NDArray[Any]) -> None:
        """Copy a page-locked array to the GPU."""
        self._copy(target.address, source.ctypes.data, source.nbytes, "cudaMemcpyHostToDevice")

    def copy_out(self, target: NDArray[Any], source: "GpuBuffer") -> None:
        """Copy from the GPU into a page-locked array, which sets the number of bytes."""
        self._copy(target.ctypes.data, source.address, target.nbytes, "cudaMemcpyDeviceToHost")

    def wait(self) -> None:
        """Wait until all work of the stream is done. Raises EncoderFailed if some of it failed."""
        _call(self._runtime.cudaStreamSynchronize, self.handle)

    def _copy(self, target: int, source: int, n_bytes: int, direction: str) -> None:
        kind = getattr(self._runtime.cudaMemcpyKind, direction)
        _call(self._runtime.cudaMemcpyAsync, target, source, n_bytes, kind, self.handle)


class GpuBuffer:
    """Allocated bytes on the GPU. Raises EncoderFailed."""

    def __init__(self, n_bytes: int) -> None:
        runtime = _runtime()
        self.address = int(_call(runtime.cudaMalloc, n_bytes))
        _free_with(self, runtime.cudaFree, self.address)


def _runtime() -> Any:
    try:
        from cuda.bindings import runtime  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"the package cuda-bindings cannot be loaded ({error}): "
            "server[gpu] and server[tensorrt] install it"
        ) from error
    return runtime


def _call(function: Callable[..., tuple[Any, ...]], *values: Any) -> Any:
    """Call a CUDA function and return its results.

    Raises EncoderFailed with the status if that is an error.
    """
    status, *answers = function(*values)
    if status.value:
        raise EncoderFailed(f"{function.__name__} returned {status.name}")
    return answers[0] if len(answers) == 1 else tuple(answers)


def _free_with(owner: object, free: Callable[[Any], object], what: Any) -> None:
    """Free a resource when its owner is collected; not at the end of the process, which frees everything."""
    weakref.finalize(owner, free, what).atexit = False


def _hidden() -> str:
    """The value of CUDA_VISIBLE_DEVICES, which hides GPUs from a process, if it is set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
