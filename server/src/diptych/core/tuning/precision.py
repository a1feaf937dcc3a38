"""Decide which precision serves which purpose, from what was measured."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from diptych.core.tuning.execution_layout import Plan
from diptych.errors import BundleError

EXACT = "fp32"
CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
MIN_GAIN = 1.1  # a precision less than this many times as fast as EXACT is not worth inexact vectors


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
    """The precision chosen for one purpose, why, from which candidates, and its plan once that is known."""

    precision: str
    reason: str
    candidates: tuple[Candidate, ...] = ()
    plan: Plan | None = None


@dataclass(frozen=True)
class DeviceChoice:
    """The device of the encoders, and why; `name` is that of the GPU, None on a CPU."""

    provider: str
    name: str | None
    reason: str


@dataclass(frozen=True)
class TowerGraphs:
    """Whether batches of one tower run as CUDA graphs, captured once for each shape, and why."""

    captured: bool
    reason: str


@dataclass(frozen=True)
class CudaGraphs:
    """Use of CUDA graphs by tower; each has its own reason."""

    image: TowerGraphs
    text: TowerGraphs


@dataclass(frozen=True)
class TensorRt:
    """The progress of TensorRT for one precision, and why: `unavailable` keeps what ran before."""

    state: Literal["building", "serving", "unavailable"]
    reason: str


@dataclass(frozen=True)
class Running:
    """What runs one precision now; it may change while the server runs.

    `cuda_graphs` is None on a CPU, `tensorrt` is None where it is not requested.
    """

    precision: str
    provider: str
    cuda_graphs: CudaGraphs | None
    tensorrt: TensorRt | None = None


@dataclass(frozen=True)
class Serving:
    """`embed` answers requests that embed and classify; `collections` embeds stored images and their queries.

    `running` lists all loaded precisions, including those that single collections asked for.
    """

    embed: Choice
    collections: Choice
    device: DeviceChoice
    running: tuple[Running, ...] = ()


def unfit(precision: str, provider: str) -> str | None:
    """Why a precision is not used with a provider: int8 graphs are made for CPUs, fp16 graphs for GPUs."""
    on_cpu = provider == CPU_PROVIDER
    if precision == "fp16" and on_cpu:
        return "fp16 is for a GPU"
    if precision == "int8" and not on_cpu:
        return "int8 is for a CPU"
    return None


def choose_fastest(candidates: Sequence[Candidate]) -> Choice:
    """The fastest precision that passed; EXACT unless another gains MIN_GAIN. Raises BundleError if none
    passed.
    """
    passed = [one for one in candidates if one.passed]
    if not passed:
        reasons = "; ".join(f"{one.precision}: {one.error}" for one in candidates)
        raise BundleError(f"no precision can be served on this machine: {reasons}")
    best = min(passed, key=lambda one: one.pair_ms)
    exact = next((one for one in passed if one.precision == EXACT), None)
    if len(passed) == 1:
        precision, reason = best.precision, _only(candidates)
    elif exact is None:
        precision, reason = best.precision, "the fastest of those that passed"
    elif best is exact:
        precision, reason = EXACT, "the fastest, and exact"
    else:
        precision, reason = _against_exact(best, exact)
    return Choice(precision, reason, tuple(candidates))


def choose_like(wanted: str, precisions: Sequence[str], attempt: Callable[[str], Candidate]) -> Choice:
    """The precision `wanted` if it passes, else EXACT, else the first that passes; nothing is measured.

    Raises BundleError if none passes.
    """
    tried: list[Candidate] = []
    for precision in dict.fromkeys((wanted, EXACT, *precisions)):
        if precision not in precisions:
            continue
        tried.append(attempt(precision))
        if tried[-1].passed:
            reason = "that of the version before" if precision == wanted else "the first that passed"
            return Choice(precision, f"{reason}: nothing is measured while requests run", tuple(tried))
    return choose_fastest(tried)


def choose_for_collections(provider: str, passes: Callable[[str], bool], *, otherwise: str) -> Choice:
    """For stored vectors: EXACT on a CPU, fp16 on a GPU if it passes, else EXACT, else `otherwise`.

    Speed does not matter here: a choice that changes from start to start would embed every collection again.
    """
    device, wanted = ("a CPU", (EXACT,)) if provider == CPU_PROVIDER else ("a GPU", ("fp16", EXACT))
    for precision in wanted:
        if passes(precision):
            return Choice(precision, f"vectors that are kept are {precision} on {device}")
    return Choice(otherwise, f"the one of requests: no {' or '.join(wanted)} of this version passes here")


def _only(candidates: Sequence[Candidate]) -> str:
    return "the only precision of this version" if len(candidates) == 1 else "the only one that passed here"


def _against_exact(best: Candidate, exact: Candidate) -> tuple[str, str]:
    gain = exact.pair_ms / best.pair_ms
    n_digits = 2 if abs(gain - MIN_GAIN) > 0.01 else 4  # enough to show on which side of MIN_GAIN it is
    measured = f"{best.precision} is {gain:.{n_digits}f} times as fast as {EXACT} on an image and a text"
    if gain <= MIN_GAIN:
        return EXACT, f"{measured}, no more than {MIN_GAIN}: too little to give up exactness"
    return best.precision, measured
