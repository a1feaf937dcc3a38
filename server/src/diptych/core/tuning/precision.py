"""Decide which precision answers what, from what was found out; knows nothing of graphs or of timing them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from diptych.core.tuning.execution_layout import Plan
from diptych.errors import BundleError

EXACT = "fp32"
CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
MIN_GAIN = 1.1  # times the speed of EXACT: what gains less is not worth an inexact vector


@dataclass(frozen=True)
class EncoderTiming:
    """Milliseconds that one item takes. Raises ValueError for times that nothing takes."""

    image_ms: float
    text_ms: float

    def __post_init__(self) -> None:
        if not (0 < self.image_ms < math.inf and 0 < self.text_ms < math.inf):
            raise ValueError(f"{self.image_ms} ms an image and {self.text_ms} ms a text")


@dataclass(frozen=True)
class Candidate:
    """One precision of a version as this machine found it; `error` says why it did not pass.

    Milliseconds are those of one item out of a batch, None when there was nothing to compare with.
    """

    precision: str
    passed: bool
    error: str | None = None
    image_ms: float | None = None
    text_ms: float | None = None

    @property
    def pair_ms(self) -> float:
        """One image and one text; endless when it was not timed."""
        if self.image_ms is None or self.text_ms is None:
            return float("inf")
        return self.image_ms + self.text_ms


@dataclass(frozen=True)
class Choice:
    """The precision for one purpose, why, from what, and how it runs here once that is known."""

    precision: str
    reason: str
    candidates: tuple[Candidate, ...] = ()
    plan: Plan | None = None


@dataclass(frozen=True)
class DeviceChoice:
    """Where the encoders run, and why there; `name` is that of the GPU, None on the CPU."""

    provider: str
    name: str | None
    reason: str


@dataclass(frozen=True)
class TowerGraphs:
    """Whether batches of one tower run as CUDA graphs, captured once for each shape, and why so."""

    captured: bool
    reason: str


@dataclass(frozen=True)
class CudaGraphs:
    """How batches on a GPU run: each tower is captured or not for reasons of its own."""

    image: TowerGraphs
    text: TowerGraphs


@dataclass(frozen=True)
class TensorRt:
    """How far TensorRT is with one precision, and why: `unavailable` leaves what ran before."""

    state: Literal["building", "serving", "unavailable"]
    reason: str


@dataclass(frozen=True)
class Running:
    """What runs one precision now, which may change while the server runs.

    No `cuda_graphs` on the CPU, no `tensorrt` where it is not asked for.
    """

    precision: str
    provider: str
    cuda_graphs: CudaGraphs | None
    tensorrt: TensorRt | None = None


@dataclass(frozen=True)
class Serving:
    """`embed` answers requests that embed and classify; `collections` embeds what is kept and its queries.

    `running` are all precisions that are loaded, those that single collections ask for included.
    """

    embed: Choice
    collections: Choice
    device: DeviceChoice
    running: tuple[Running, ...] = ()


def unfit(precision: str, provider: str) -> str | None:
    """Why a precision is not taken there: int8 graphs are made for CPUs, fp16 graphs for GPUs."""
    on_cpu = provider == CPU_PROVIDER
    if precision == "fp16" and on_cpu:
        return "fp16 is for a GPU"
    if precision == "int8" and not on_cpu:
        return "int8 is for a CPU"
    return None


def choose_fastest(candidates: Sequence[Candidate]) -> Choice:
    """The fastest that passed; EXACT unless another gains MIN_GAIN on it. Raises BundleError if none did."""
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


def choose_for_collections(provider: str, passes: Callable[[str], bool], *, otherwise: str) -> Choice:
    """Of vectors that are kept: EXACT on a CPU, fp16 on a GPU if it passes, else EXACT, else `otherwise`.

    Never a matter of speed: a choice that changes from start to start would embed every collection again.
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
    n_digits = 2 if abs(gain - MIN_GAIN) > 0.01 else 4  # enough to see on which side it is
    measured = f"{best.precision} is {gain:.{n_digits}f} times as fast as {EXACT} on an image and a text"
    if gain <= MIN_GAIN:
        return EXACT, f"{measured}, no more than {MIN_GAIN}: too little to give up exactness"
    return best.precision, measured
