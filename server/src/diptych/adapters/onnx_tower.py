"""Run one ONNX graph of one input and one output, in one of several ways. Knows not what it encodes."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from diptych.adapters.checked_rows import require_embeddings
from diptych.adapters.gpu_gate import GATE, NoTurn, unheld
from diptych.adapters.onnx_binding import Batch, BoundRun, CaptureFailed, Run, Shapes, unbound
from diptych.adapters.onnx_session import Device, open_session
from diptych.bundle.encoder import Embeddings, OnStart
from diptych.bundle.parity import MIN_BATCH_COSINE
from diptych.errors import BundleError, ConfigError, EncoderFailed

LOG = logging.getLogger("diptych.onnx")

# A session whose capture failed may still be capturing: to free it then, or its buffers, ends the process.
_LOST: list[BoundRun] = []


@dataclass(frozen=True)
class Port:
    """One input or output of a graph, as a bundle must have it."""

    name: str
    dtype: str
    rank: int


class Tower:
    """One graph, checked when it is loaded and again on each answer.

    On a GPU batches run in `shapes`, and with `captures` as CUDA graphs, unless that cannot be had: then
    `why_not_captured` says why, and they run as they would have otherwise.
    """

    def __init__(
        self,
        file: Path,
        source: Port,
        target: Port,
        *,
        n_threads: int,
        device: Device,
        shapes: Shapes,
        captures: bool,
        tensorrt: Mapping[str, int | str] | None = None,
    ) -> None:
        """`tensorrt` are the options of that device. Raises BundleError, ConfigError."""
        self._file, self._ports = file, (source, target)
        self._open = partial(open_session, file, n_threads=n_threads, device=device, tensorrt=tensorrt)
        self._in_parts = device == "tensorrt"  # its engine runs no larger batch than it was built for
        self._shapes = shapes
        self._run: Run = _closed
        self._bound: BoundRun | None = None
        self._thread: ThreadPoolExecutor | None = None  # that captures
        self.why_not_captured = ""
        captured = self._captured_session() if captures and device == "cuda" else None
        session, is_captured = captured or self._open(), captured is not None
        try:
            self._take(session, on_gpu=device != "cpu", captures=is_captured)
        except BaseException as error:
            with GATE.beside_others():
                unheld(error)
                self._run, self._bound = _closed, None
                del session, captured
            raise
        if is_captured:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="capture")

    @property
    def why_not_page_locked(self) -> str:
        """Why batches are copied to a GPU from memory that is not page-locked; empty otherwise."""
        bound = self._bound
        return "" if bound is None else bound.why_not_page_locked

    def fit(self, batch_sizes: Sequence[int]) -> None:
        """On a GPU, run in these sizes from now on."""
        if self._bound is None:
            return
        self._shapes = Shapes(batch_sizes, self._shapes.lengths, self._shapes.fill)
        if self._thread is None:
            self._bound.fit(batch_sizes)
        else:
            self._thread.submit(self._bound.fit, batch_sizes).result()

    def close(self) -> None:
        """On a GPU, free the session in its turn: beside a capture that spoils both. No call runs or comes.

        What stays is a tower whose calls fail.
        """
        if self._bound is None:
            return
        if self._thread is not None:
            self._thread.shutdown()
        with GATE.beside_others():
            self._bound.close()
            self._run, self._bound, self._thread = _closed, None, None

    def run(self, batch: Batch, on_start: OnStart | None) -> Embeddings:
        """(B, ...) -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        options = ort.RunOptions()
        if on_start is not None:
            on_start(partial(setattr, options, "terminate", True))
        return self._checked(self._rows, batch, options)

    def prove_replays(self, pairs: Iterable[tuple[Batch, Batch]]) -> None:
        """Hold replays against runs that are not captured; no other call runs or comes. Raises EncoderFailed.

        Each pair is two batches of one shape: what a replay of the second leaves as it was is the first.
        Where one is off, batches run without CUDA graphs from then on.
        """
        for first, batch in pairs:
            self._prove_replay(first, batch)

    def _prove_replay(self, first: Batch, batch: Batch) -> None:
        thread, bound = self._thread, self._bound
        if thread is None or bound is None:
            return  # there are none
        expected = self._checked(
            lambda *call: thread.submit(bound.uncaptured, *call).result(), batch, ort.RunOptions()
        )
        try:
            self.run(first, None)
            off = _off(expected, self.run(batch, None))
        except EncoderFailed as error:
            off = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        if off and self._bound is bound:
            self._go_on_without(f"a replay of shape {batch.shape} is off: {off}", is_lost=False)
            thread.shutdown()

    def _checked(self, run: Run, batch: Batch, options: ort.RunOptions) -> Embeddings:
        try:
            rows = run(batch, options)
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            name = type(error).__name__
            raise EncoderFailed(f"the encoder raised {name} on a batch of {len(batch)}") from unheld(error)
        return require_embeddings(rows, len(batch), self._ports[1].name)

    def _rows(self, batch: Batch, options: ort.RunOptions) -> Embeddings:
        largest = max(self._shapes.sizes, default=0)
        if self._in_parts and len(batch) > largest:
            parts = range(0, len(batch), largest)
            return np.concatenate([self._rows(batch[at : at + largest], options) for at in parts])
        thread = self._thread
        if thread is None:
            return self._run(batch, options)
        return thread.submit(self._run_captured, batch, options).result()

    def _run_captured(self, batch: Batch, options: ort.RunOptions) -> Embeddings:
        """In the thread of the captures; when one has failed, those that wait there find it gone on."""
        try:
            return self._run(batch, options)
        except (CaptureFailed, NoTurn) as error:
            self._go_on_without(str(error), is_lost=isinstance(error, CaptureFailed))
            if options.terminate:  # it was stopped, and would be again
                raise
        return self._run(batch, options)

    def _take(self, session: ort.InferenceSession, *, on_gpu: bool, captures: bool) -> None:
        source, target = self._ports
        _check_port(self._file, "input", session.get_inputs(), source)
        _check_port(self._file, "output", session.get_outputs(), target)
        self.provider: str = session.get_providers()[0]
        self._run = unbound(session, source.name, target.name)
        if on_gpu:
            self._bind(session, captures=captures)

    def _captured_session(self) -> ort.InferenceSession | None:
        """None when there is no such session of this graph."""
        try:
            return self._open(captures=True)
        except (BundleError, ConfigError) as error:
            self._say_why(str(error))
            return None

    def _bind(self, session: ort.InferenceSession, *, captures: bool) -> None:
        source, target = self._ports
        self._run = self._bound = BoundRun(
            session,
            source.name,
            target.name,
            width=_width(self._file, session),
            shapes=self._shapes,
            memory="cuda",
            captures=captures,
        )

    def _go_on_without(self, reason: str, *, is_lost: bool) -> None:
        """`is_lost`: what was captured with is not to be freed."""
        assert self._bound is not None
        former, self._bound, self._run = self._bound, None, _closed  # for good, if it does not open again
        self._say_why(reason)
        if is_lost:
            _LOST.append(former)
        else:
            with GATE.beside_others():
                former.close()
        self._bind(self._open(), captures=False)
        self._thread = None  # calls need not come from it any more

    def _say_why(self, reason: str) -> None:
        self.why_not_captured = reason
        LOG.warning("%s: batches run without CUDA graphs: %s", self._file.name, reason)


def _off(expected: Embeddings, found: Embeddings) -> str:
    """How far the row is that is furthest from its own; empty where all are the same."""
    products = (expected.astype(np.float64) * found).sum(axis=1)
    cosines = products / (np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1))
    item = int(np.argmin(cosines))
    if cosines[item] >= MIN_BATCH_COSINE:
        return ""
    return f"item {item} has a cosine of {cosines[item]:.6f} to its row of a run that is not captured"


def _closed(batch: Batch, options: ort.RunOptions) -> Embeddings:
    raise EncoderFailed("the encoder was closed")


def _width(file: Path, session: ort.InferenceSession) -> int:
    """D of the output (B, D), which buffers are laid out for."""
    width = session.get_outputs()[0].shape[1]
    if not isinstance(width, int):
        raise BundleError(f"{file.name}: the width of the output must be a number on a GPU, it is {width!r}")
    return width


def _check_port(file: Path, kind: str, found: Sequence[ort.NodeArg], expected: Port) -> None:
    ports = [Port(port.name, port.type, len(port.shape)) for port in found]
    if ports != [expected]:
        raise BundleError(f"{file.name}: the {kind} must be {expected}, found {ports}")
