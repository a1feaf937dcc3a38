"""Run the two ONNX graphs of a bundle; knows nothing of manifests, image files or words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from diptych.adapters.onnx_binding import BoundRun, Run, unbound
from diptych.adapters.onnx_cuda import require_cuda
from diptych.adapters.onnx_session import Device, open_session
from diptych.bundle.encoder import Embeddings, InputIds, OnStart, Pixels
from diptych.errors import BundleError, EncoderFailed

# Normalisation is done in the graph, in float16 at worst: a row further from 1 is no embedding.
MAX_NORM_ERROR = 1e-2


@dataclass(frozen=True)
class Port:
    """One input or output of a graph, as a bundle must have it."""

    name: str
    dtype: str
    rank: int


PIXELS = Port("pixels", "tensor(uint8)", 4)  # (B, S, S, 3)
INPUT_IDS = Port("input_ids", "tensor(int32)", 2)  # (B, L)
IMAGE_EMBEDDING = Port("image_embedding", "tensor(float)", 2)  # (B, D)
TEXT_EMBEDDING = Port("text_embedding", "tensor(float)", 2)  # (B, D)


class OnnxEncoder:
    """Both towers of one model on onnxruntime; satisfies `Encoder` and `StoppableEncoder` of the bundle.

    `n_threads` is the size of each graph's thread pool, 0 for onnxruntime's own choice (the cores).
    Calls may come from any thread; one that is stopped ends after the operator that it is in. On a GPU calls
    of one tower wait for each other, and batches run in the sizes that `fit` names, from 1 up.
    Raises ConfigError when `device` cannot be had here, BundleError when a file does not load or its graph
    does not have the bundle's signature.
    """

    def __init__(
        self,
        image_file: Path,
        text_file: Path,
        *,
        n_threads: int = 0,
        device: Device = "cpu",
        batch_sizes: Sequence[int] = (),
    ) -> None:
        """`batch_sizes`: of both towers on a GPU, before they are fitted."""
        self.device_name = require_cuda().name if device == "cuda" else None
        open_tower = partial(_Tower, n_threads=n_threads, device=device, batch_sizes=batch_sizes)
        self._image = open_tower(image_file, PIXELS, IMAGE_EMBEDDING)
        self._text = open_tower(text_file, INPUT_IDS, TEXT_EMBEDDING)
        self.provider = self._image.provider

    def fit(self, image_sizes: Sequence[int], text_sizes: Sequence[int]) -> None:
        """On a GPU, keep buffers for batches of these sizes alone; on the CPU any size runs as it is."""
        self._image.fit(image_sizes)
        self._text.fit(text_sizes)

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        return self._image.run(pixels, on_start)

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        """(B, L) int32, padded with the pad_id -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        return self._text.run(input_ids, on_start)


class _Tower:
    """One graph with one input and one output, checked when it is loaded and again on each answer."""

    def __init__(
        self,
        file: Path,
        source: Port,
        target: Port,
        *,
        n_threads: int,
        device: Device,
        batch_sizes: Sequence[int],
    ) -> None:
        session = open_session(file, n_threads=n_threads, device=device)
        _check_port(file, "input", session.get_inputs(), source)
        _check_port(file, "output", session.get_outputs(), target)
        self.provider: str = session.get_providers()[0]
        self._target = target.name
        self._bound: BoundRun | None = None
        self._run: Run = unbound(session, source.name, target.name)
        if device == "cuda":
            self._run = self._bound = BoundRun(
                session,
                source.name,
                target.name,
                width=_width(file, session),
                sizes=batch_sizes,
                memory=device,
            )

    def fit(self, batch_sizes: Sequence[int]) -> None:
        if self._bound is not None:
            self._bound.fit(batch_sizes)

    def run(self, batch: NDArray[np.uint8] | NDArray[np.int32], on_start: OnStart | None) -> Embeddings:
        options = ort.RunOptions()
        if on_start is not None:
            on_start(partial(setattr, options, "terminate", True))
        try:
            rows = self._run(batch, options)
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            name = type(error).__name__
            raise EncoderFailed(f"the encoder raised {name} on a batch of {len(batch)}") from error
        if rows.ndim != 2 or len(rows) != len(batch):
            raise EncoderFailed(f"the encoder answered shape {rows.shape} to a batch of {len(batch)}")
        norms = np.linalg.norm(rows, axis=1)  # (B,)
        if not np.all(np.abs(norms - 1.0) <= MAX_NORM_ERROR):  # false for NaN as well
            raise EncoderFailed(f"{self._target} has rows that are not finite or not of unit norm")
        return rows


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
