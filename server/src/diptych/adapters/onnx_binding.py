"""Run one graph on batches of a few sizes, whose buffers are laid out once. Knows nothing of towers."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from diptych.adapters.onnx_cuda import CUDA_PROVIDER
from diptych.bundle.encoder import Embeddings

LOG = logging.getLogger("diptych.onnx")
MAX_SHAPES = 128  # whose buffers are kept: texts have many lengths, and little data

Batch = NDArray[np.uint8] | NDArray[np.int32]
Run = Callable[[Batch, ort.RunOptions], Embeddings]  # a batch of B items -> (B, D)
Memory = Literal["cpu", "cuda"]  # as onnxruntime calls them


def unbound(session: ort.InferenceSession, source: str, target: str) -> Run:
    """Any batch; onnxruntime takes memory for each, and copies to the device and back."""

    def run(batch: Batch, options: ort.RunOptions) -> Embeddings:
        (rows,) = session.run([target], {source: batch}, options)
        embeddings: Embeddings = rows
        return embeddings

    return run


class BoundRun:
    """Batches of up to the largest of `sizes` run in the next size, in buffers that stay where they are.

    Rows that fill a batch up are computed and dropped; items of a batch do not know of each other. Larger
    batches run unbound. Calls may come from any thread, and wait for each other.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        source: str,
        target: str,
        *,
        width: int,
        sizes: Sequence[int],
        memory: Memory,
    ) -> None:
        """(B, ...) `source` -> (B, `width`) float32 `target`; `memory` is where the session computes."""
        self._session = session
        self._names = source, target
        self._width = width
        self._memory: Memory = memory
        self._sizes = sorted(sizes)
        self._unbound = unbound(session, source, target)
        self._bound: OrderedDict[tuple[int, ...], _Bound] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, batch: Batch, options: ort.RunOptions) -> Embeddings:
        """B items -> (B, `width`). Raises what onnxruntime raises."""
        with self._lock:
            size = next((size for size in self._sizes if size >= len(batch)), None)
            if size is None:
                return self._unbound(batch, options)
            return self._buffers((size, *batch.shape[1:]), batch.dtype).run(self._session, batch, options)

    def fit(self, sizes: Sequence[int]) -> None:
        """Run in these sizes from now on, and let go of the buffers of others."""
        with self._lock:
            self._sizes = sorted(sizes)
            for shape in [shape for shape in self._bound if shape[0] not in self._sizes]:
                del self._bound[shape]

    def _buffers(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "_Bound":
        if shape not in self._bound:
            self._bound[shape] = self._bind(shape, dtype)
        self._bound.move_to_end(shape)
        if len(self._bound) > MAX_SHAPES:
            self._bound.popitem(last=False)
        return self._bound[shape]

    def _bind(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "_Bound":
        source, target = self._names
        value = ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, self._memory, 0)
        rows = np.zeros((shape[0], self._width), np.float32)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(source, value)
        binding.bind_ortvalue_output(target, ort.OrtValue.ortvalue_from_numpy(rows))  # shares its memory
        staging = _page_locked(shape, dtype, value) if self._memory == "cuda" else None
        return _Bound(binding, staging or _pageable(shape, dtype), value, rows)


@dataclass(frozen=True, eq=False)
class _Staging:
    """Host memory in which a batch is laid out: the array to write, and what onnxruntime copies from.

    Zeros at first: rows that no batch has filled yet are computed too, and must be valid.
    """

    array: Batch
    source: ort.OrtValue | Batch


@dataclass(frozen=True, eq=False)
class _Bound:
    """The buffers of one shape, and the binding that names them."""

    binding: ort.IOBinding
    staging: _Staging
    value: ort.OrtValue  # of `staging`, where the session computes
    rows: Embeddings  # which the session writes

    def run(self, session: ort.InferenceSession, batch: Batch, options: ort.RunOptions) -> Embeddings:
        self.staging.array[: len(batch)] = batch
        self.value.update_inplace(self.staging.source)
        self.binding.synchronize_inputs()  # the session computes in a stream of its own
        session.run_with_iobinding(self.binding, options)
        return self.rows[: len(batch)].copy()  # the next batch writes there again


def _pageable(shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Staging:
    array = np.zeros(shape, dtype)
    return _Staging(array, array)


def _page_locked(shape: tuple[int, ...], dtype: np.dtype[Any], value: ort.OrtValue) -> _Staging | None:
    """Memory that is copied to a GPU at full speed, where onnxruntime offers some; `value` is on that GPU."""
    devices = [device for device in ort.get_ep_devices() if device.ep_name == CUDA_PROVIDER]
    if not devices:
        return None
    try:
        kind = devices[0].memory_info(ort.OrtDeviceMemoryType.HOST_ACCESSIBLE)
        source = ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, memory_info=kind)
        array = source.numpy()
        if array.ctypes.data != source.data_ptr():  # a copy: what is written to it would never be seen
            return None
        array[...] = 0
        value.update_inplace(source)
    except Exception as error:  # of onnxruntime's own classes; nothing but speed depends on it
        LOG.info("no page-locked memory for batches of shape %s: %s", shape, error)
        return None
    return _Staging(array, source)
