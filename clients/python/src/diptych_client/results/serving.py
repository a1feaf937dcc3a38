"""How the server runs a model version: precisions, device, runtime."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PrecisionCandidate:
    """A precision that the server tried at its start. Milliseconds per item are None if it was the only one.

    `error`: why it did not pass, or was not tried.
    """

    precision: str
    passed: bool
    image_ms: float | None
    text_ms: float | None
    error: str | None


@dataclass(frozen=True)
class Plan:
    """How a precision runs: parallel batches, largest batch sizes, and threads that decode images."""

    n_lanes: int
    image_batch_size: int
    text_batch_size: int
    n_decode_threads: int


@dataclass(frozen=True)
class GoldenParity:
    """How near a precision is to the golden outputs of the version, measured on the server's machine.

    `cosine_mean` is of images or of texts, whichever is lower; `batch_cosine_min` of one item alone to the
    same item in a batch.
    """

    cosine_min: float
    cosine_mean: float
    batch_cosine_min: float
    n_images: int
    n_texts: int


@dataclass(frozen=True)
class ServingDevice:
    """The device of the encoders and the reason. `name` is the name of the GPU; None on the CPU."""

    provider: str
    name: str | None
    reason: str


@dataclass(frozen=True)
class TensorRt:
    """The state of TensorRT, "serving" or "unavailable", and the reason."""

    state: str
    reason: str


@dataclass(frozen=True)
class RunningPrecision:
    """The runtime of a precision at the moment.

    `tensorrt` is None if the server does not use it.
    """

    precision: str
    provider: str
    tensorrt: TensorRt | None = None


@dataclass(frozen=True)
class Serving:
    """The precision that the version is served in, why, from which candidates, and what runs it.

    `candidates` is empty unless this start of the server has chosen. `device` and `running` are None where
    the server does not report them. `parity` is None for a precision whose parity the manifest has.
    """

    precision: str
    reason: str
    candidates: tuple[PrecisionCandidate, ...] = ()
    plan: Plan | None = None
    device: ServingDevice | None = None
    running: RunningPrecision | None = None
    parity: GoldenParity | None = None
