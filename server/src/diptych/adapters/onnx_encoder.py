"""Run the two ONNX graphs of a bundle; knows nothing of manifests, image files or words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings, InputIds, OnStart, Pixels
from diptych.errors import BundleError, ConfigError, EncoderFailed

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
    Calls may come from any thread; one that is stopped ends after the operator that it is in.
    Raises ConfigError when the first of `providers` cannot be had here, BundleError when a file does not load
    or its graph does not have the bundle's signature.
    """

    def __init__(
        self,
        image_file: Path,
        text_file: Path,
        *,
        n_threads: int = 0,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        _require_provider(providers)
        self._image = _Tower(_open(image_file, n_threads, providers), image_file, PIXELS, IMAGE_EMBEDDING)
        self._text = _Tower(_open(text_file, n_threads, providers), text_file, INPUT_IDS, TEXT_EMBEDDING)
        self.provider = providers[0]

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        return self._image.run(pixels, on_start)

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        """(B, L) int32, padded with the pad_id -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        return self._text.run(input_ids, on_start)


class _Tower:
    """One graph with one input and one output, checked when it is loaded and again on each answer."""

    def __init__(self, session: ort.InferenceSession, file: Path, source: Port, target: Port) -> None:
        _check_port(file, "input", session.get_inputs(), source)
        _check_port(file, "output", session.get_outputs(), target)
        self._session, self._source, self._target = session, source.name, target.name

    def run(self, batch: NDArray[np.uint8] | NDArray[np.int32], on_start: OnStart | None) -> Embeddings:
        options = ort.RunOptions()
        if on_start is not None:
            on_start(partial(setattr, options, "terminate", True))
        try:
            (rows,) = self._session.run([self._target], {self._source: batch}, options)
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            name = type(error).__name__
            raise EncoderFailed(f"the encoder raised {name} on a batch of {len(batch)}") from error
        if rows.ndim != 2 or len(rows) != len(batch):
            raise EncoderFailed(f"the encoder answered shape {rows.shape} to a batch of {len(batch)}")
        norms = np.linalg.norm(rows, axis=1)  # (B,)
        if not np.all(np.abs(norms - 1.0) <= MAX_NORM_ERROR):  # false for NaN as well
            raise EncoderFailed(f"{self._target} has rows that are not finite or not of unit norm")
        embeddings: Embeddings = rows
        return embeddings


def _require_provider(providers: Sequence[str]) -> None:
    available = ort.get_available_providers()
    if not providers or providers[0] not in available:
        raise ConfigError(f"onnxruntime has no provider {list(providers)[:1]} here, only {available}")


def _open(file: Path, n_threads: int, providers: Sequence[str]) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.log_severity_level = 4  # its errors are raised too, and its own lines are none of our log
    # Between two layers threads wait for each other by spinning, which is worth it; after the last one they
    # would spin on for 40 ms, on cores that decode the next images and answer the last request.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = ort.InferenceSession(str(file), options, providers=list(providers))
    except Exception as error:  # see _Tower.run
        raise BundleError(f"{file.name} does not load in onnxruntime {ort.__version__}: {error}") from error
    used = session.get_providers()[0]
    if used != providers[0]:
        # onnxruntime falls back to the CPU with a mere warning when a device library is missing.
        raise ConfigError(f"{file.name}: {providers[0]} was asked for, but onnxruntime fell back to {used}")
    return session


def _check_port(file: Path, kind: str, found: Sequence[ort.NodeArg], expected: Port) -> None:
    ports = [Port(port.name, port.type, len(port.shape)) for port in found]
    if ports != [expected]:
        raise BundleError(f"{file.name}: the {kind} must be {expected}, found {ports}")
