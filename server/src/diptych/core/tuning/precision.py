"""Decide which precision serves, from what was measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from diptych.bundle.parity import GoldenParity
from diptych.core.tuning.execution_layout import Plan
from diptych.errors import BundleError

EXACT = "fp32"
CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
OPENVINO_PROVIDER = "OpenVINOExecutionProvider"
SPEED_SHARE = 2 / 3  # of the fastest precision: an exacter one that reaches it is preferred


@dataclass(frozen=True)
class EncoderTiming:
    """Milliseconds per item. Raises ValueError for impossible times."""

    image_ms: float
    text_ms: float

    def __post_init__(self) -> None:
        if not (0 < self.image_ms < math.inf and 0 < self.text_ms < math.inf):
            raise ValueError(f"{self.image_ms} ms an image and {self.text_ms} ms a text")


@dataclass(frozen=True)
class Candidate:
    """One precision of a version, as tried on this machine; `error` says why it did not pass.

    Milliseconds are per item of a batch, None when there was nothing to compare with.
    """

    precision: str
    passed: bool
    error: str | None = None
    image_ms: float | None = None
    text_ms: float | None = None

    @property
    def pair_ms(self) -> float:
        """Time of one image and one text; infinite when it was not measured."""
        if self.image_ms is None or self.text_ms is None:
            return float("inf")
        return self.image_ms + self.text_ms


@dataclass(frozen=True)
class Choice:
    """The chosen precision, why, from which candidates, and its plan once that is known.

    `parity` is None for a precision whose parity the manifest has.
    """

    precision: str
    reason: str
    candidates: tuple[Candidate, ...] = ()
    plan: Plan | None = None
    parity: GoldenParity | None = None


@dataclass(frozen=True)
class DeviceChoice:
    """The device of the encoders, and why; `name` is that of the GPU, None on a CPU."""

    provider: str
    name: str | None
    reason: str


@dataclass(frozen=True)
class TensorRt:
    """Whether TensorRT serves one precision, and why; while it is `unavailable`, another provider serves."""

    state: Literal["serving", "unavailable"]
    reason: str


@dataclass(frozen=True)
class Running:
    """What runs one precision.

    `tensorrt` is None where it is not requested.
    """

    precision: str
    provider: str
    tensorrt: TensorRt | None = None


@dataclass(frozen=True)
class Execution:
    """How a version is served: in which precision and why, on which device, and what runs it now."""

    choice: Choice
    device: DeviceChoice
    running: Running | None = None


def unfit(precision: str, provider: str) -> str | None:
    """Why a precision is not used with a provider: int8 and bf16 are for CPUs, fp16 graphs for GPUs."""
    if precision == "fp16" and runs_on_cpu(provider):
        return "fp16 is for a GPU"
    if precision in {"bf16", "int8"} and not runs_on_cpu(provider):
        return f"{precision} is for a CPU"
    return None


def runs_on_cpu(provider: str) -> bool:
    """Whether a provider computes on the CPU."""
    return provider in {CPU_PROVIDER, OPENVINO_PROVIDER}


def choose(candidates: Sequence[Candidate]) -> Choice:
    """The most exact precision that passed and reaches SPEED_SHARE of the fastest one's speed.

    `candidates` begin with the most exact one. Raises BundleError if none passed.
    """
    passed = [one for one in candidates if one.passed]
    if not passed:
        reasons = "; ".join(f"{one.precision}: {one.error}" for one in candidates)
        raise BundleError(f"no precision can be served on this machine: {reasons}")
    if len(passed) == 1:
        return Choice(passed[0].precision, _only(candidates), tuple(candidates))
    fastest = min(passed, key=lambda one: one.pair_ms)
    best = next(one for one in passed if one.pair_ms * SPEED_SHARE <= fastest.pair_ms)
    share = fastest.pair_ms / best.pair_ms
    reason = (
        "the fastest; no exacter one reaches two thirds of its speed"
        if best is fastest
        else f"the most exact of those that reach two thirds of the speed of {fastest.precision}: {share:.0%}"
    )
    if best is passed[0] is fastest:
        reason = "the most exact, and the fastest"
    return Choice(best.precision, reason, tuple(candidates))


def _only(candidates: Sequence[Candidate]) -> str:
    return "the only precision of this version" if len(candidates) == 1 else "the only one that passed here"
