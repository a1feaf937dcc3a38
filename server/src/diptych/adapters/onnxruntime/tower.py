"""Runs one ONNX graph with one input and one output, on the CPU or the GPU."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnxruntime as ort

from diptych.adapters.cuda.capture_lock import CAPTURE_LOCK
from diptych.adapters.onnxruntime.gpu_run import Batch, GpuRun, Run, Shapes
from diptych.adapters.onnxruntime.session import Device, open_session
from diptych.bundle.encoder import Embeddings, OnStart, require_embeddings
from diptych.errors import BundleError, ConfigError, EncoderFailed

LOG = logging.getLogger("diptych.onnx")

# Sessions whose capture failed. They may still be capturing: freeing them or their buffers would crash the
# process.
_LEAKED_SESSIONS: list[GpuRun] = []


@dataclass(frozen=True)
class Port:
    """The name, type and rank that an input or output of a bundle's graph must have."""

    name: str
    dtype: str
    rank: int


class Tower:
    """One graph, whose signature is checked when it is loaded, and whose rows are checked after each run.

    On a GPU batches run in `shapes`. With `captures` they run as CUDA graphs once `capture` was called,
    except those that `why_not_captured` names.
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
    ) -> None:
        """Raises BundleError, ConfigError."""
        self._file, self._source, self._target, self._shapes = file, source, target, shapes
        self._open = partial(open_session, file, n_threads=n_threads, device=device)
        self.why_not_captured = ""
        self._captures = captures and device == "cuda"
        session = self._open_capturing() if self._captures else self._open()
        self._on_gpu: GpuRun | None = None
        self._run: Run
        self._use(session, device)

    def fit(self, batch_sizes: Sequence[int]) -> None:
        """On a GPU, run batches in these sizes from now on."""
        if self._on_gpu is not None:
            self._shapes = Shapes(batch_sizes, self._shapes.lengths, self._shapes.fill)
            self._on_gpu.fit(batch_sizes)

    def capture(self, batches: Sequence[Batch]) -> None:
        """Capture CUDA graphs for the shapes of these batches, if possible. No other call may run meanwhile.

        Raises EncoderFailed.
        """
        if self._on_gpu is None or not self._captures:
            return
        try:
            off = self._on_gpu.capture(batches)
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            _LEAKED_SESSIONS.append(self._on_gpu)
            self._on_gpu, self._captures = None, False
            self._set_why_not_captured(f"a batch cannot be captured: {error}")
            self._use(self._open(), "cuda")
        else:
            self._set_why_not_captured(off)

    def close(self) -> None:
        """On a GPU, free its memory. No call may run or follow."""
        if self._on_gpu is not None:
            self._on_gpu.close()

    def run(self, batch: Batch, on_start: OnStart | None) -> Embeddings:
        """(B, ...) -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        options = ort.RunOptions()
        if on_start is not None:
            on_start(partial(setattr, options, "terminate", True))
        try:
            rows = self._run(batch, options)
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            name = type(error).__name__
            raise EncoderFailed(f"the encoder raised {name} on a batch of {len(batch)}") from error
        return require_embeddings(rows, len(batch), self._target.name)

    def _open_capturing(self) -> ort.InferenceSession:
        """A session that captures CUDA graphs; one that does not, if this graph does not allow it."""
        try:
            return self._open(captures=True)
        except (BundleError, ConfigError) as error:
            self._captures = False
            self._set_why_not_captured(str(error))
        return self._open()

    def _use(self, session: ort.InferenceSession, device: Device) -> None:
        self.provider: str = session.get_providers()[0]
        problem = self._problem(session, device)
        if problem:
            with CAPTURE_LOCK.call():
                del session
            raise BundleError(f"{self._file.name}: {problem}")
        source, target = self._source.name, self._target.name
        if device == "cpu":
            self._run = lambda batch, options: session.run([target], {source: batch}, options)[0]
        else:
            width = session.get_outputs()[0].shape[1]
            self._run = self._on_gpu = GpuRun(session, source, target, width=width, shapes=self._shapes)

    def _problem(self, session: ort.InferenceSession, device: Device) -> str:
        """What is wrong with the inputs and outputs of the graph; empty if they are as a bundle must have
        them.
        """
        for kind, found, expected in (
            ("input", session.get_inputs(), self._source),
            ("output", session.get_outputs(), self._target),
        ):
            ports = [Port(port.name, port.type, len(port.shape)) for port in found]
            if ports != [expected]:
                return f"the {kind} must be {expected}, found {ports}"
        width = session.get_outputs()[0].shape[1]
        if device == "cuda" and not isinstance(width, int):
            return f"the width of the output must be a fixed number on a GPU, it is {width!r}"
        return ""

    def _set_why_not_captured(self, reason: str) -> None:
        self.why_not_captured = reason
        if reason:
            LOG.warning("%s: batches run without CUDA graphs: %s", self._file.name, reason)
