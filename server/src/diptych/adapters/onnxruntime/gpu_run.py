"""Runs one session on a GPU with I/O binding, in a few batch shapes that can be captured as CUDA graphs."""

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
GRAPH_ID = "gpu_graph_id"  # run option: the CUDA graph that the run captures, or replays if it exists
NO_GRAPH = "-1"

Batch = NDArray[np.uint8] | NDArray[np.int32]
Run = Callable[[Batch, ort.RunOptions], Embeddings]  # a batch of B items -> (B, D)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Shapes:
    """The shapes that batches are padded to: the next of `sizes`, and text rows to the next of `lengths`.

    Without `lengths` rows keep their length. They are padded with `fill`, which must not change the
    embedding.
    """

    sizes: Sequence[int]
    lengths: Sequence[int] = ()
    fill: int = 0

    def of(self, batch: Batch) -> Shape | None:
        """The shape that a batch runs in; None if it is larger than all sizes."""
        size = min((size for size in self.sizes if size >= len(batch)), default=None)
        if size is None:
            return None
        if not self.lengths:
            return (size, *batch.shape[1:])
        (length,) = batch.shape[1:]
        return size, min((longer for longer in self.lengths if longer >= length), default=length)


class GpuRun:
    """Runs batches in `shapes` with buffers that are kept; larger batches as they are, in memory allocated
    for each.

    Rows that pad a batch are computed and dropped: the items of a batch do not affect each other. Calls may
    come from any thread; they run in a thread of this object, since onnxruntime keeps CUDA graphs per thread.
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
        self._n_graphs = 0  # a number is never used again
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gpu")

    def __call__(self, batch: Batch, options: ort.RunOptions) -> Embeddings:
        """B items -> (B, `width`). Raises what onnxruntime raises."""
        return self._thread.submit(self._run, batch, options).result()

    def fit(self, sizes: Sequence[int]) -> None:
        """Run in these sizes from now on, and free the buffers of other sizes."""
        self._shapes = replace(self._shapes, sizes=sizes)
        self._thread.submit(self._free_other_sizes).result()

    def capture(self, batches: Sequence[Batch]) -> str:
        """Capture a CUDA graph for the shape of each batch; replay it from now on, if it gives the same rows.

        The session must have been opened for capturing, and no other call may run meanwhile. Returns which
        shapes gave other rows and run without a graph; empty if there is none. Raises what onnxruntime
        raises: the session must not be used afterwards.
        """
        return self._thread.submit(self._capture, batches).result()

    def close(self) -> None:
        """Free the memory while nothing is captured. No call may run or follow."""
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
            with CAPTURE_LOCK.capture():  # on zeros, not on the rows that a replay is checked with
                bound.run(self._session, np.zeros_like(batch), ort.RunOptions())
        # Check once all are captured: a replay uses memory that later captures must not have touched.
        mismatches = []
        for bound, batch, rows in zip(made, batches, expected, strict=True):
            if cosine := _mismatch(rows, self._run(batch, ort.RunOptions())):
                mismatches.append(f"a replay of shape {bound.shape} differs: {cosine}")
                with CAPTURE_LOCK.call():
                    self._release(bound)
        return "; ".join(mismatches)

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

    def _free_other_sizes(self) -> None:
        with CAPTURE_LOCK.call():
            for shape in [shape for shape in self._bound if shape[0] not in self._shapes.sizes]:
                self._release(self._bound.pop(shape))

    def _release(self, bound: "_Bound") -> None:
        assert self._session is not None, "it is open"
        if bound.graph != NO_GRAPH:
            self._session.release_captured_graph(int(bound.graph))
        bound.graph = NO_GRAPH


def _staging(shape: Shape, batch: Batch) -> Batch:
    """Host memory for batches, zeroed because the rows that pad a batch must be valid."""
    try:
        return page_locked(shape, batch.dtype)
    except EncoderFailed as error:
        LOG.warning("batches of shape %s are copied to the GPU from pageable memory: %s", shape, error)
        return np.zeros(shape, batch.dtype)


@dataclass(eq=False)
class _Bound:
    """The buffers of one shape, and the I/O binding that refers to them."""

    shape: Shape
    binding: ort.IOBinding
    staging: Batch
    value: ort.OrtValue  # the input, on the GPU
    rows: ort.OrtValue  # the output, on the GPU
    fill: int  # pads rows that are shorter
    graph: str = NO_GRAPH  # the number of its CUDA graph, once it is captured

    def run(self, session: ort.InferenceSession, batch: Batch, options: ort.RunOptions) -> Embeddings:
        self._fill_staging(batch)
        self.value.update_inplace(self.staging)
        self.binding.synchronize_inputs()  # the session computes in another stream
        options.add_run_config_entry(GRAPH_ID, self.graph)
        session.run_with_iobinding(self.binding, options)
        self.binding.synchronize_outputs()
        rows: Embeddings = self.rows.numpy()[: len(batch)]  # a copy on the host
        return rows

    def _fill_staging(self, batch: Batch) -> None:
        target = self.staging[: len(batch)]
        if target.shape == batch.shape:
            target[...] = batch
            return
        length = batch.shape[1]
        target[:, :length] = batch
        target[:, length:] = self.fill


def _mismatch(expected: Embeddings, found: Embeddings) -> str:
    """Describe the row with the lowest cosine to the expected one; empty if all agree."""
    cosines = 1 - ((expected.astype(np.float64) - found) ** 2).sum(axis=1) / 2  # valid for rows of unit norm
    item = int(np.argmin(cosines))
    if cosines[item] >= MIN_BATCH_COSINE:
        return ""
    return f"item {item} has a cosine of {cosines[item]:.6f} to its row of an uncaptured run"
