"""Runs one ONNX graph with one input and one output, on the CPU or the GPU."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from diptych.adapters.onnxruntime.session import Device, open_session
from diptych.adapters.onnxruntime.tensorrt_provider import Options
from diptych.bundle.encoder import Embeddings, OnStart, require_embeddings
from diptych.errors import BundleError, EncoderFailed

Batch = NDArray[np.uint8] | NDArray[np.int32]


@dataclass(frozen=True)
class Port:
    """The name, type and rank that an input or output of a bundle's graph must have."""

    name: str
    dtype: str
    rank: int


class Tower:
    """One graph, whose signature is checked when it is loaded, and whose rows are checked after each run."""

    def __init__(
        self,
        file: Path,
        source: Port,
        target: Port,
        *,
        n_threads: int,
        device: Device,
        tensorrt: Options | None = None,
        bf16: bool = False,
    ) -> None:
        """Raises BundleError, ConfigError."""
        session = open_session(file, n_threads=n_threads, device=device, tensorrt=tensorrt, bf16=bf16)
        _check_ports(file, session, source, target)
        self._source, self._target = source.name, target.name
        self._session: ort.InferenceSession | None = session
        self.provider: str = session.get_providers()[0]

    def close(self) -> None:
        """Free the memory, after the last call that runs. Later calls raise EncoderFailed."""
        self._session = None

    def run(self, batch: Batch, on_start: OnStart | None) -> Embeddings:
        """(B, ...) -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        session, options = self._session, ort.RunOptions()
        if session is None:
            raise EncoderFailed("the encoder is closed")
        if on_start is not None:
            on_start(partial(setattr, options, "terminate", True))
        try:
            rows = session.run([self._target], {self._source: batch}, options)[0]
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            name = type(error).__name__
            raise EncoderFailed(f"the encoder raised {name} on a batch of {len(batch)}") from error
        return require_embeddings(rows, len(batch), self._target)


def _check_ports(file: Path, session: ort.InferenceSession, source: Port, target: Port) -> None:
    for kind, found, expected in (
        ("input", session.get_inputs(), source),
        ("output", session.get_outputs(), target),
    ):
        ports = [Port(port.name, port.type, len(port.shape)) for port in found]
        if ports != [expected]:
            raise BundleError(f"{file.name}: the {kind} must be {expected}, found {ports}")
