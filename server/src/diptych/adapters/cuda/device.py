"""The first GPU of this machine and its memory, by NVIDIA's package `cuda-bindings`. Computes nothing.

CUDA's runtime, not NVML: it counts GPUs as `CUDA_VISIBLE_DEVICES` leaves them, and it has memory and streams.
The package is loaded when a GPU is asked for, since only the extras for GPUs bring it.
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
    """The first GPU that this process may use, and the newest CUDA that its driver can run."""

    name: str
    cuda: tuple[int, int]  # such as (13, 0)
    compute_capability: tuple[int, int]  # such as (9, 0)


def first_gpu() -> Gpu:
    """Raises ConfigError that says whether the package, the driver or the GPU is missing."""
    try:
        runtime = _runtime()
        version = _call(runtime.cudaDriverGetVersion)
        if not version:
            raise ConfigError("there is no NVIDIA driver here")
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
    """Of the first GPU's memory. Raises EncoderFailed."""
    free, _ = _call(_runtime().cudaMemGetInfo)
    return int(free)


def page_locked(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros that is copied to a GPU at full speed, and while the host goes on.

    Raises EncoderFailed where there is no such memory.
    """
    runtime, kind = _runtime(), np.dtype(dtype)
    n_bytes = max(1, int(np.prod(shape)) * kind.itemsize)
    address = int(_call(runtime.cudaHostAlloc, n_bytes, runtime.cudaHostAllocDefault))
    memory: Any = (ctypes.c_uint8 * n_bytes).from_address(address)
    _free_with(memory, runtime.cudaFreeHost, address)  # every view of the array keeps it
    array: NDArray[Any] = np.frombuffer(memory, kind, count=int(np.prod(shape))).reshape(shape)
    array[...] = 0
    return array


class Stream:
    """A queue of work on the GPU, done in its order beside other streams. Raises EncoderFailed."""

    def __init__(self) -> None:
        self._runtime = _runtime()
        made = _call(self._runtime.cudaStreamCreateWithFlags, self._runtime.cudaStreamNonBlocking)
        self.handle = int(made)
        _free_with(self, self._runtime.cudaStreamDestroy, made)

    def copy_in(self, target: "GpuBuffer", source: NDArray[Any]) -> None:
        """A page-locked array to the GPU."""
        self._copy(target.address, source.ctypes.data, source.nbytes, "cudaMemcpyHostToDevice")

    def copy_out(self, target: NDArray[Any], source: "GpuBuffer") -> None:
        """As many bytes of the GPU as the page-locked array has."""
        self._copy(target.ctypes.data, source.address, target.nbytes, "cudaMemcpyDeviceToHost")

    def wait(self) -> None:
        """Until all work of the stream is done. Raises EncoderFailed for what went wrong in it."""
        _call(self._runtime.cudaStreamSynchronize, self.handle)

    def _copy(self, target: int, source: int, n_bytes: int, direction: str) -> None:
        kind = getattr(self._runtime.cudaMemcpyKind, direction)
        _call(self._runtime.cudaMemcpyAsync, target, source, n_bytes, kind, self.handle)


class GpuBuffer:
    """Bytes on the GPU. Raises EncoderFailed."""

    def __init__(self, n_bytes: int) -> None:
        runtime = _runtime()
        self.address = int(_call(runtime.cudaMalloc, n_bytes))
        _free_with(self, runtime.cudaFree, self.address)


def _runtime() -> Any:
    try:
        from cuda.bindings import runtime  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"the package cuda-bindings cannot be loaded ({error}): server[gpu] and server[tensorrt] bring it"
        ) from error
    return runtime


def _call(function: Callable[..., tuple[Any, ...]], *values: Any) -> Any:
    """What it answers beside its status. Raises EncoderFailed, with the status where that is an error."""
    status, *answers = function(*values)
    if status.value:
        raise EncoderFailed(f"{function.__name__} answers {status.name}")
    return answers[0] if len(answers) == 1 else tuple(answers)


def _free_with(owner: object, free: Callable[[Any], object], what: Any) -> None:
    """Give it back when its owner is gone; not at the end of the process, which gives all back."""
    weakref.finalize(owner, free, what).atexit = False


def _hidden() -> str:
    """What hides GPUs from a process, where it is set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
