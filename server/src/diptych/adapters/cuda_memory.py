"""Memory and streams of a GPU, through NVIDIA's driver. Knows nothing of what is computed there.

The driver's own interface, since every machine with a GPU has it: CUDA's runtime comes with libraries that
may be missing, and it uses the same context. Written against its documentation, not yet run on a GPU.
"""

import ctypes
import weakref
from collections.abc import Callable
from ctypes import c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.adapters.cuda_driver import LIBRARY, Load
from diptych.errors import ConfigError, EncoderFailed

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: it does not wait for what others do in the default stream


class CudaMemory:
    """The first GPU that this process may use. Calls may come from any thread; they raise EncoderFailed."""

    def __init__(self, load: Load = ctypes.CDLL) -> None:
        """Raises ConfigError where there is no driver, EncoderFailed where it does not work."""
        try:
            self._driver = load(LIBRARY)
        except OSError as error:
            raise ConfigError(f"there is no NVIDIA driver here: {error}") from error
        device, context = c_int(), c_void_p()
        self._call("cuInit", c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), c_int(0))
        # That of CUDA's runtime too, which TensorRT uses. It is kept until the process ends.
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._context = context

    def enter(self) -> None:
        """Use the GPU from this thread: before any other call here or of a library that computes there."""
        self._call("cuCtxSetCurrent", self._context)

    def new_stream(self) -> "Stream":
        """Work in it is done in its order, beside other streams."""
        self.enter()
        stream = c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), c_uint(NON_BLOCKING))
        made = Stream(stream.value or 0, self)
        self._free_with(made, "cuStreamDestroy_v2", c_void_p(made.handle))
        return made

    def on_gpu(self, n_bytes: int) -> "GpuBuffer":
        """Memory on the GPU."""
        self.enter()
        address = c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), c_size_t(n_bytes))
        made = GpuBuffer(address.value, n_bytes)
        self._free_with(made, "cuMemFree_v2", c_uint64(made.address))
        return made

    def on_host(self, n_bytes: int) -> "HostBuffer":
        """Page-locked memory of the host, zeros: it is copied at full speed, and while the host goes on."""
        self.enter()
        address = c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(address), c_size_t(n_bytes), c_uint(0))
        made = HostBuffer(address.value or 0, n_bytes)
        self._free_with(made, "cuMemFreeHost", c_void_p(made.address))
        return made

    def copy_in(self, target: "GpuBuffer", source: "HostBuffer", n_bytes: int, stream: "Stream") -> None:
        """The first bytes of `source` to the GPU, in the stream's order."""
        self._call(
            "cuMemcpyHtoDAsync_v2",
            c_uint64(target.address),
            c_void_p(source.address),
            c_size_t(n_bytes),
            c_void_p(stream.handle),
        )

    def copy_out(self, target: "HostBuffer", source: "GpuBuffer", n_bytes: int, stream: "Stream") -> None:
        """The first bytes of `source` to the host, in the stream's order."""
        self._call(
            "cuMemcpyDtoHAsync_v2",
            c_void_p(target.address),
            c_uint64(source.address),
            c_size_t(n_bytes),
            c_void_p(stream.handle),
        )

    def wait(self, stream: "Stream") -> None:
        """Until all work of the stream is done. Raises EncoderFailed for what went wrong in it."""
        self._call("cuStreamSynchronize", c_void_p(stream.handle))

    def _call(self, name: str, *values: Any) -> None:
        status = getattr(self._driver, name)(*values)
        if status:
            raise EncoderFailed(f"the NVIDIA driver does not work: {name} answers {status}")

    def _free_with(self, owner: object, name: str, what: Any) -> None:
        """Give it back when its owner is gone; not at the end of the process, which gives all back."""
        weakref.finalize(owner, self._quietly, name, what).atexit = False

    def _quietly(self, name: str, what: Any) -> None:
        free: Callable[[Any], int] = getattr(self._driver, name)
        self._driver.cuCtxSetCurrent(self._context)
        free(what)


class Stream:
    """A queue of work on the GPU."""

    def __init__(self, handle: int, memory: CudaMemory) -> None:
        self.handle = handle
        self._memory = memory  # which outlives it


class GpuBuffer:
    """Bytes on the GPU."""

    def __init__(self, address: int, n_bytes: int) -> None:
        self.address = address
        self.n_bytes = n_bytes


class HostBuffer:
    """Page-locked bytes of the host, as an array that shares them."""

    def __init__(self, address: int, n_bytes: int) -> None:
        self.address = address
        self.bytes: NDArray[np.uint8] = np.ctypeslib.as_array(
            (ctypes.c_uint8 * n_bytes).from_address(address)
        )
        self.bytes[:] = 0
