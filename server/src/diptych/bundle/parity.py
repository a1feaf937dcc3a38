"""The bounds on how far a precision may differ from the trained model.

The export checks its measurements against these bounds, and so does every reader of a manifest.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from diptych.bundle.part import Part

MIN_IMAGES, MIN_TEXTS = 1000, 100
MIN_BATCH_COSINE = 0.99999  # of one item alone and in a full batch, in every precision that has graphs

Cosine = Annotated[float, Field(ge=-1.00001, le=1.00001)]  # rounding may pass 1 by an ulp
Measure = Literal["cosine_min", "cosine_mean", "top1_agreement", "batch_cosine_min", "n_images", "n_texts"]


class Parity(Part):
    """The agreement of one precision with the float32 torch model, measured at export on real items."""

    cosine_min: Cosine
    cosine_mean: Cosine
    top1_agreement: float = Field(ge=0, le=1)
    n_near_ties: int = Field(ge=0)  # items whose reference margin is within the error; counted separately
    recall_delta: float = Field(ge=-1, le=1)
    batch_cosine_min: Cosine  # one item alone against the same item in a full batch
    n_images: int = Field(ge=0)
    n_texts: int = Field(ge=0)


@dataclass(frozen=True)
class GoldenParity:
    """The agreement of one precision with the golden outputs, measured where the precision is loaded.

    It is measured for precisions that have no graphs of their own, and so no parity in the manifest.
    """

    cosine_min: float
    cosine_mean: float  # of the tower where it is lower
    batch_cosine_min: float  # one item alone against the same item in a full batch
    n_images: int
    n_texts: int


@dataclass(frozen=True)
class Bound:
    """The lowest value of one measure that passes."""

    measure: Measure
    lowest: float


EVERY_PRECISION = (
    Bound("batch_cosine_min", MIN_BATCH_COSINE),
    Bound("n_images", MIN_IMAGES),
    Bound("n_texts", MIN_TEXTS),
)
BOUNDS: dict[str, tuple[Bound, ...]] = {
    "fp32": (Bound("cosine_min", 0.99999), *EVERY_PRECISION),
    "fp16": (Bound("cosine_min", 0.999), *EVERY_PRECISION),
    "bf16": (Bound("cosine_min", 0.99), Bound("cosine_mean", 0.999), Bound("batch_cosine_min", 0.999)),
    "int8": (Bound("cosine_mean", 0.99), Bound("top1_agreement", 0.98), *EVERY_PRECISION),
}


def broken_bounds(parity: Parity | GoldenParity, precision: str) -> list[str]:
    """One sentence for each bound that the measured parity breaks; empty if it may be published."""
    found = [(bound, float(getattr(parity, bound.measure))) for bound in BOUNDS[precision]]
    # `not >=` instead of `<`, so that a NaN breaks its bound.
    return [
        f"{b.measure} is {value:.7g}, the bound is {b.lowest:.7g}"
        for b, value in found
        if not value >= b.lowest
    ]
