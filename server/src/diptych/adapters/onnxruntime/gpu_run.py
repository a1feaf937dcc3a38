"""Run one session on a GPU, on batches of a few shapes with buffers of their own. Knows nothing of towers."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from diptych.adapters.cuda.capture_lock import CAPTURE_LOCK
from diptych.adapters.cuda.device import page_locked
from diptych.bundle.encoder import Embeddings
from diptych.bundle.parity import MIN_BATCH_COSINE
from diptych.errors import EncoderFailed

LOG = logging.getLogger("diptych.onnx")
GRAPH_ID = "gpu_graph_id"  # of a run: which CUDA graph it captures, or replays once there is one
NO_GRAPH = "-1"

Batch = NDArray[np.uint8] | NDArray[np.int32]
Run = Callable[[Batch, ort.RunOptions], Embeddings]  # a batch of B items -> (B, D)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Shapes:
    """What batches are filled up to: the next of `sizes`, and rows of numbers to the next of `lengths`.

    Without `lengths` rows stay as long as they are. They are filled up with `fill`, which must not matter.
    """

    sizes: Sequence[int]
    lengths: Sequence[int] = ()
    fill: int = 0

    def of(self, batch: Batch) -> Shape | None:
        """The shape that a batch runs in; None when it is too large for any."""
        size = min((size for size in self.sizes if size >= len(batch)), default=None)
        if size is None:
            return None
        if not self.lengths:
            return (size, *batch.shape[1:])
        (length,) = batch.shape[1:]
        return size, min((longer for longer in self.lengths if longer >= length), default=length)


class GpuRun:
    """Batches that fit into `shapes` run in those; larger ones run as they are, in memory taken for each.

    Rows that fill a batch up are computed and dropped: items of a batch do not know of each other. Calls may
    come from any thread and run in one of its own, since onnxruntime keeps CUDA graphs by thread.
    """

    def __init__(
        self, session: ort.InferenceSession, source: str, target: str, *, width: int, shapes: Shapes
    ) -> None:
        """(B, ...) `source` -> (B, `width`) float32 `target`."""
        self._session: ort.InferenceSession | None = session
        self._names = source, target
        self._width = width
        self._shapes = shapes
        self._bound: dict[Shape, _Bound] = {}
        self._n_graphs = 0  # numbers are not used again
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gpu")

    def __call__(self, batch: Batch, options: ort.RunOptions) -> Embeddings:
        """B items -> (B, `width`). Raises what onnxruntime raises."""
        return self._thread.submit(self._run, batch, options).result()

    def fit(self, sizes: Sequence[int]) -> None:
        """Run in these sizes from now on, and let go of the buffers of others."""
        self._shapes = replace(self._shapes, sizes=sizes)
        self._thread.submit(self._let_go_of_others).result()

    def capture(self, batches: Sequence[Batch]) -> str:
        """Replay a CUDA graph for each shape of these batches from now on, where that gives the same rows.

        Of a session that was opened for it. No other call runs or comes. What is off is named, and runs
        without; else empty. Raises what onnxruntime raises: the session cannot be trusted then.
        """
        return self._thread.submit(self._capture, batches).result()

    def close(self) -> None:
        """Give the memory back, at a moment in which nothing is captured. No call runs or comes."""
        self._thread.shutdown()
        with CAPTURE_LOCK.call():
            self._bound.clear()
            self._session = None

    def _run(self, batch: Batch, options: ort.RunOptions) -> Embeddings:
        assert self._session is not None, "it is open"
        source, target = self._names
        with CAPTURE_LOCK.call():
            shape = self._shapes.of(batch)
            if shape is not None:
                return self._buffers(shape, batch).run(self._session, batch, options)
            options.add_run_config_entry(GRAPH_ID, NO_GRAPH)
            (rows,) = self._session.run([target], {source: batch}, options)
            embeddings: Embeddings = rows
            return embeddings

    def _capture(self, batches: Sequence[Batch]) -> str:
        assert self._session is not None, "it is open"
        with CAPTURE_LOCK.call():
            made = [self._buffers(shape, batch) for batch in batches if (shape := self._shapes.of(batch))]
            for bound in made:
                self._release(bound)
        expected = [self._run(batch, ort.RunOptions()) for batch in batches]
        for bound, batch in zip(made, batches, strict=True):
            self._n_graphs += 1
            bound.graph = str(self._n_graphs)
            with CAPTURE_LOCK.capture():  # other rows than those that a replay shall give
                bound.run(self._session, np.zeros_like(batch), ort.RunOptions())
        # Once all are captured: a replay computes in memory that later captures must have left alone.
        off = []
        for bound, batch, rows in zip(made, batches, expected, strict=True):
            if cosine := _off(rows, self._run(batch, ort.RunOptions())):
                off.append(f"a replay of shape {bound.shape} is off: {cosine}")
                with CAPTURE_LOCK.call():
                    self._release(bound)
        return "; ".join(off)

    def _buffers(self, shape: Shape, batch: Batch) -> "_Bound":
        if shape not in self._bound:
            self._bound[shape] = self._bind(shape, batch)
        return self._bound[shape]

    def _bind(self, shape: Shape, batch: Batch) -> "_Bound":
        assert self._session is not None, "it is open"
        source, target = self._names
        value = ort.OrtValue.ortvalue_from_shape_and_type(shape, batch.dtype, "cuda", 0)
        rows = ort.OrtValue.ortvalue_from_shape_and_type((shape[0], self._width), np.float32, "cuda", 0)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(source, value)
        binding.bind_ortvalue_output(target, rows)
        return _Bound(shape, binding, _staging(shape, batch), value, rows, self._shapes.fill)

    def _let_go_of_others(self) -> None:
        with CAPTURE_LOCK.call():
            for shape in [shape for shape in self._bound if shape[0] not in self._shapes.sizes]:
                self._release(self._bound.pop(shape))

    def _release(self, bound: "_Bound") -> None:
        assert self._session is not None, "it is open"
        if bound.graph != NO_GRAPH:
            self._session.release_captured_graph(int(bound.graph))
        bound.graph = NO_GRAPH


def _staging(shape: Shape, batch: Batch) -> Batch:
    """Host memory in which batches are laid out; zeros, since rows that fill one up must be valid."""
    try:
        return page_locked(shape, batch.dtype)
    except EncoderFailed as error:
        LOG.warning("batches of shape %s are copied to the GPU from pageable memory: %s", shape, error)
        return np.zeros(shape, batch.dtype)


@dataclass(eq=False)
class _Bound:
    """The buffers of one shape, and the binding that names them."""

    shape: Shape
    binding: ort.IOBinding
    staging: Batch
    value: ort.OrtValue  # of `staging`, on the GPU
    rows: ort.OrtValue  # that the session writes, on the GPU
    fill: int  # what rows are filled up with
    graph: str = NO_GRAPH  # its number, once it is captured

    def run(self, session: ort.InferenceSession, batch: Batch, options: ort.RunOptions) -> Embeddings:
        self._lay_out(batch)
        self.value.update_inplace(self.staging)
        self.binding.synchronize_inputs()  # the session computes in a stream of its own
        options.add_run_config_entry(GRAPH_ID, self.graph)
        session.run_with_iobinding(self.binding, options)
        self.binding.synchronize_outputs()
        rows: Embeddings = self.rows.numpy()[: len(batch)]  # a copy, as it is on the GPU
        return rows

    def _lay_out(self, batch: Batch) -> None:
        target = self.staging[: len(batch)]
        if target.shape == batch.shape:
            target[...] = batch
            return
        length = batch.shape[1]
        target[:, :length] = batch
        target[:, length:] = self.fill


def _off(expected: Embeddings, found: Embeddings) -> str:
    """How far the row is that is furthest from its own; empty where all are the same."""
    cosines = 1 - ((expected.astype(np.float64) - found) ** 2).sum(axis=1) / 2  # of unit norm, or it is off
    item = int(np.argmin(cosines))
    if cosines[item] >= MIN_BATCH_COSINE:
        return ""
    return f"item {item} has a cosine of {cosines[item]:.6f} to its row of a run that is not captured"
