"""Run one graph on batches of a few shapes, whose buffers are laid out once. Knows nothing of towers."""

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from diptych.adapters.cuda_memory import CudaMemory, HostBuffer
from diptych.adapters.gpu_gate import GATE, unheld
from diptych.bundle.encoder import Embeddings
from diptych.errors import ConfigError, EncoderFailed

LOG = logging.getLogger("diptych.onnx")
MAX_SHAPES = 128  # whose buffers are kept
GRAPH_ID = "gpu_graph_id"  # of a run: which CUDA graph it captures, or replays once there is one
NO_GRAPH = "-1"

Batch = NDArray[np.uint8] | NDArray[np.int32]
Run = Callable[[Batch, ort.RunOptions], Embeddings]  # a batch of B items -> (B, D)
Memory = Literal["cpu", "cuda"]  # as onnxruntime calls them


class CaptureFailed(Exception):
    """The first run of a shape failed, which captures it. The session cannot be trusted any more."""


@dataclass(frozen=True)
class Shapes:
    """What batches are filled up to: the next of `sizes`, and rows of numbers to the next of `lengths`.

    Without `lengths` rows stay as long as they are. They are filled up with `fill`, which must not matter.
    """

    sizes: Sequence[int]
    lengths: Sequence[int] = ()
    fill: int = 0

    def of(self, batch: Batch) -> tuple[int, ...] | None:
        """The shape that a batch runs in; None when it is too large for any."""
        size = min((size for size in self.sizes if size >= len(batch)), default=None)
        if size is None:
            return None
        if not self.lengths:
            return (size, *batch.shape[1:])
        (length,) = batch.shape[1:]
        return size, min((longer for longer in self.lengths if longer >= length), default=length)


def unbound(session: ort.InferenceSession, source: str, target: str) -> Run:
    """Any batch; onnxruntime takes memory for each, and copies to the device and back."""

    def run(batch: Batch, options: ort.RunOptions) -> Embeddings:
        (rows,) = session.run([target], {source: batch}, options)
        embeddings: Embeddings = rows
        return embeddings

    return run


class BoundRun:
    """Batches that fit into `shapes` run in those, in buffers that stay where they are.

    Rows that fill a batch up are computed and dropped; items of a batch do not know of each other. Larger
    batches run unbound. Calls may come from any thread, and wait for each other.

    With `captures` the first run of a shape captures it as a CUDA graph, which later ones replay. Then all
    calls must come from one thread: onnxruntime keeps such graphs by thread.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        source: str,
        target: str,
        *,
        width: int,
        shapes: Shapes,
        memory: Memory,
        captures: bool = False,
    ) -> None:
        """(B, ...) `source` -> (B, `width`) float32 `target`; `memory` is where the session computes."""
        self.session = session
        self._names = source, target
        self._width = width
        self._memory: Memory = memory
        self._shapes = shapes
        self._captures = captures
        self.why_not_page_locked = ""  # of batches on a GPU: why they are copied from memory that is not
        self._driver: CudaMemory | None = None  # which has that memory
        self._n_graphs = 0  # numbers are not used again: a graph writes where its own buffers were
        self._unbound = unbound(session, source, target)
        self._bound: OrderedDict[tuple[int, ...], _Bound] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, batch: Batch, options: ort.RunOptions) -> Embeddings:
        """B items -> (B, `width`). Raises what onnxruntime raises, and CaptureFailed in its place; NoTurn."""
        with self._lock:
            shape = self._shapes.of(batch)
            if self._captures and shape is not None and shape not in self._bound:
                return self._capture(shape, batch, options)
            with GATE.beside_others():
                try:
                    if shape is not None:
                        return self._buffers(shape, batch.dtype).run(self.session, batch, options)
                    return self._uncaptured(batch, options)
                except Exception as error:
                    unheld(error)  # what it took by then is given back here
                    raise

    def uncaptured(self, batch: Batch, options: ort.RunOptions) -> Embeddings:
        """The rows of a run that is not captured, and in memory of its own."""
        with self._lock, GATE.beside_others():
            return self._uncaptured(batch, options)

    def fit(self, sizes: Sequence[int]) -> None:
        """Run in these sizes from now on, and let go of the buffers of others."""
        with self._lock, GATE.beside_others():
            self._shapes = replace(self._shapes, sizes=sizes)
            for shape in [shape for shape in self._bound if shape[0] not in sizes]:
                self._let_go(shape)

    def close(self) -> None:
        """Let go of the session and its buffers; to be called at the gate, and nothing afterwards."""
        with self._lock:
            self._bound.clear()
            del self.session, self._unbound

    def _uncaptured(self, batch: Batch, options: ort.RunOptions) -> Embeddings:
        if self._captures:
            options.add_run_config_entry(GRAPH_ID, NO_GRAPH)
        return self._unbound(batch, options)

    def _capture(self, shape: tuple[int, ...], batch: Batch, options: ort.RunOptions) -> Embeddings:
        with GATE.alone():
            try:
                return self._buffers(shape, batch.dtype).run(self.session, batch, options)
            except Exception as error:  # of onnxruntime's own classes
                raise CaptureFailed(f"shape {shape} cannot be captured: {error}") from unheld(error)

    def _buffers(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "_Bound":
        if shape not in self._bound:
            self._bound[shape] = self._bind(shape, dtype)
        self._bound.move_to_end(shape)
        if len(self._bound) > MAX_SHAPES:
            self._let_go(next(iter(self._bound)))
        return self._bound[shape]

    def _let_go(self, shape: tuple[int, ...]) -> None:
        bound = self._bound.pop(shape)
        if bound.graph is not None:
            self.session.release_captured_graph(bound.graph)

    def _bind(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "_Bound":
        source, target = self._names
        value = ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, self._memory, 0)
        rows: ort.OrtValue | Embeddings
        if self._captures:  # a graph cannot write into the memory of the host
            self._n_graphs += 1
            rows = written = ort.OrtValue.ortvalue_from_shape_and_type(
                (shape[0], self._width), np.float32, self._memory, 0
            )
        else:
            rows = np.zeros((shape[0], self._width), np.float32)
            written = ort.OrtValue.ortvalue_from_numpy(rows)  # shares its memory
        binding = self.session.io_binding()
        binding.bind_ortvalue_input(source, value)
        binding.bind_ortvalue_output(target, written)
        staging = self._page_locked(shape, dtype) if self._memory == "cuda" else None
        graph = self._n_graphs if self._captures else None
        fill = self._shapes.fill
        return _Bound(binding, staging or _Staging(np.zeros(shape, dtype)), value, rows, graph, fill)

    def _page_locked(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "_Staging | None":
        """From NVIDIA's driver: onnxruntime has such memory only where its provider is a plugin."""
        try:
            self._driver = self._driver or CudaMemory()
            buffer = self._driver.on_host(math.prod(shape) * dtype.itemsize)
        except (ConfigError, EncoderFailed) as error:
            reason = f"no page-locked memory for batches of shape {shape}: {error}"
        else:
            return _Staging(buffer.bytes.view(dtype).reshape(shape), buffer)
        if not self.why_not_page_locked:
            self.why_not_page_locked = reason
            source, _ = self._names
            LOG.warning("%s: batches are copied to the GPU from pageable memory: %s", source, reason)
        return None


@dataclass(frozen=True, eq=False)
class _Staging:
    """Host memory in which a batch is laid out, and which onnxruntime copies from; `buffer` has that of the
    array where it is page-locked, which is copied to a GPU at full speed.

    Zeros at first: rows that no batch has filled yet are computed too, and must be valid.
    """

    array: Batch
    buffer: HostBuffer | None = None


@dataclass(frozen=True, eq=False)
class _Bound:
    """The buffers of one shape, and the binding that names them."""

    binding: ort.IOBinding
    staging: _Staging
    value: ort.OrtValue  # of `staging`, where the session computes
    rows: ort.OrtValue | Embeddings  # which the session writes: on the device, or else in the host's memory
    graph: int | None  # its number, where it is captured
    fill: int  # what rows are filled up with

    def run(self, session: ort.InferenceSession, batch: Batch, options: ort.RunOptions) -> Embeddings:
        self._lay_out(batch)
        self.value.update_inplace(self.staging.array)
        self.binding.synchronize_inputs()  # the session computes in a stream of its own
        if self.graph is not None:
            options.add_run_config_entry(GRAPH_ID, str(self.graph))
        session.run_with_iobinding(self.binding, options)
        if isinstance(self.rows, np.ndarray):
            return self.rows[: len(batch)].copy()  # the next batch writes there again
        self.binding.synchronize_outputs()
        rows: Embeddings = self.rows.numpy()[: len(batch)]  # a copy, as it is on the device
        return rows

    def _lay_out(self, batch: Batch) -> None:
        target = self.staging.array[: len(batch)]
        if target.shape == batch.shape:
            target[...] = batch
            return
        length = batch.shape[1]
        target[:, :length] = batch
        target[:, length:] = self.fill
