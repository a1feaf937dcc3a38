"""Runs one TensorRT engine, a batch at a time.

Written against the documentation of TensorRT 10 and 11; not yet run on a GPU. A plan file is executable: it
contains kernels, so that its author decides what runs on the GPU. Only files of our own repository and cache
are loaded.
"""

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.adapters.cuda.capture_lock import CAPTURE_LOCK
from diptych.adapters.cuda.device import GpuBuffer, Stream, page_locked
from diptych.adapters.tensorrt.library import load_tensorrt, take_error, tensorrt_log
from diptych.bundle.encoder import Embeddings, OnStart, require_embeddings
from diptych.errors import BundleError, EncoderFailed

Batch = NDArray[np.uint8] | NDArray[np.int32]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class EnginePort:
    """The name, type and rank that an input or output must have; `dtype` is TensorRT's name of the type."""

    name: str
    dtype: str
    rank: int


@dataclass(frozen=True)
class EngineProfile:
    """The smallest and the largest shape of an optimisation profile; `number` is its index in TensorRT."""

    number: int
    least: Shape
    largest: Shape

    def holds(self, shape: Shape) -> bool:
        """Whether a batch of this shape fits the profile."""
        return len(shape) == len(self.least) and all(
            low <= size <= high for low, size, high in zip(self.least, shape, self.largest, strict=True)
        )


class TensorrtEngine:
    """A deserialised plan with one input and one output.

    Calls may come from any thread and run one at a time.

    A batch is copied into page-locked memory and to the GPU, runs in the first profile that fits its shape,
    and is copied back, all in one stream. A batch larger than every profile runs in parts.
    """

    def __init__(self, file: Path, source: EnginePort, target: EnginePort) -> None:
        """Raises BundleError if the file does not load or has another signature; EncoderFailed."""
        self._source, self._target = source.name, target.name
        self._lock = threading.Lock()
        with CAPTURE_LOCK.load():  # it allocates GPU memory
            engine = _deserialise(file)
            _check_ports(file, engine, source, target)
            self._profiles = _profiles(file, engine, source.name)
            self._buffers: _Buffers | None = _Buffers(engine, source, target, self._profiles)

    def run(self, batch: Batch, on_start: OnStart | None) -> Embeddings:
        """(B, ...) -> (B, D). A stopped call ends before its next part, since kernels cannot be stopped."""
        stopped = threading.Event()
        if on_start is not None:
            on_start(stopped.set)
        size = self._largest(batch)
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        with self._lock:
            rows = np.concatenate([self._part(part, stopped) for part in parts])
        return require_embeddings(rows, len(batch), self._target)

    def close(self) -> None:
        """Free the GPU's memory while nothing is captured. No call may run or follow."""
        with CAPTURE_LOCK.call():
            self._buffers = None

    def _part(self, part: Batch, stopped: threading.Event) -> Embeddings:
        if stopped.is_set():
            raise EncoderFailed("the call was stopped")
        if self._buffers is None:
            raise EncoderFailed("the encoder was closed")
        profile = self._profile(part.shape)
        with CAPTURE_LOCK.call():
            return self._buffers.run(part, profile)

    def _largest(self, batch: Batch) -> int:
        """The largest number of items of such a batch that one run takes."""
        fitting = [one.largest[0] for one in self._profiles if one.holds((one.least[0], *batch.shape[1:]))]
        return max(fitting, default=max(1, len(batch)))

    def _profile(self, shape: Shape) -> EngineProfile:
        for profile in self._profiles:
            if profile.holds(shape):
                return profile
        taken = ", ".join(f"{one.least} to {one.largest}" for one in self._profiles)
        raise EncoderFailed(f"no profile fits a batch of shape {shape}, only {taken}")


class _Buffers:
    """A stream, buffers for the largest batch, and an execution context for each profile."""

    def __init__(
        self, engine: Any, source: EnginePort, target: EnginePort, profiles: list[EngineProfile]
    ) -> None:
        self._source = source.name
        width = int(tuple(engine.get_tensor_shape(target.name))[1])
        n_in = max(int(np.prod(one.largest)) for one in profiles)
        n_rows = max(one.largest[0] for one in profiles)
        self._in = page_locked((n_in,), _DTYPES[source.dtype])
        self._out = page_locked((n_rows, width), np.float32)
        self._gpu_in, self._gpu_out = GpuBuffer(self._in.nbytes), GpuBuffer(self._out.nbytes)
        self._stream = Stream()
        addresses = {source.name: self._gpu_in.address, target.name: self._gpu_out.address}
        self._contexts = {one.number: self._context(engine, one.number, addresses) for one in profiles}
        self._stream.wait()

    def run(self, batch: Batch, profile: EngineProfile) -> Embeddings:
        stream, context = self._stream, self._contexts[profile.number]
        taken, rows = self._in[: batch.size], self._out[: len(batch)]
        taken[...] = batch.reshape(-1)
        stream.copy_in(self._gpu_in, taken)
        _require(context.set_input_shape(self._source, batch.shape), f"rejected the shape {batch.shape}")
        _require(context.execute_async_v3(stream.handle), f"failed on a batch of {len(batch)}")
        stream.copy_out(rows, self._gpu_out)
        stream.wait()
        return rows.copy()  # the next batch overwrites the buffer

    def _context(self, engine: Any, profile: int, addresses: dict[str, int]) -> Any:
        context = engine.create_execution_context()
        _require(context is not None, "has no memory for an execution context")
        chosen = context.set_optimization_profile_async(profile, self._stream.handle)
        _require(chosen, f"rejected its profile {profile}")
        for name, address in addresses.items():
            _require(context.set_tensor_address(name, address), f"rejected the memory of {name}")
        return context


_DTYPES = {"UINT8": np.uint8, "INT32": np.int32}


def _require(worked: bool, otherwise: str) -> None:
    if not worked:
        raise EncoderFailed(f"TensorRT {take_error(otherwise)}")


def _deserialise(file: Path) -> Any:
    tensorrt = load_tensorrt()
    runtime = tensorrt.Runtime(tensorrt_log())  # refuses plans with host code, by default
    try:
        engine = runtime.deserialize_cuda_engine(file.read_bytes())
    except Exception as error:  # its binding has no exception classes
        raise _unloadable(file, str(error)) from error
    if engine is None:
        raise _unloadable(file, take_error("no reason given"))
    return engine


def _unloadable(file: Path, reason: str) -> BundleError:
    return BundleError(f"{file.name} does not load in TensorRT {load_tensorrt().__version__}: {reason}")


def _check_ports(file: Path, engine: Any, source: EnginePort, target: EnginePort) -> None:
    modes = load_tensorrt().TensorIOMode
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    for kind, mode, expected in (("input", modes.INPUT, source), ("output", modes.OUTPUT, target)):
        found = [_port(engine, name) for name in names if engine.get_tensor_mode(name) == mode]
        if found != [expected]:
            raise BundleError(f"{file.name}: the {kind} must be {expected}, found {found}")
    width = int(tuple(engine.get_tensor_shape(target.name))[1])
    if width < 1:
        raise BundleError(f"{file.name}: the width of the output must be a fixed number, it is {width}")


def _port(engine: Any, name: str) -> EnginePort:
    return EnginePort(name, engine.get_tensor_dtype(name).name, len(engine.get_tensor_shape(name)))


def _profiles(file: Path, engine: Any, source: str) -> list[EngineProfile]:
    shapes = map(partial(engine.get_tensor_profile_shape, source), range(engine.num_optimization_profiles))
    found = [EngineProfile(n, tuple(least), tuple(largest)) for n, (least, _, largest) in enumerate(shapes)]
    if not found:
        raise BundleError(f"{file.name}: has no optimization profile")
    return found
