"""How far a precision may be from the trained model; knows nothing of how that is measured.

Who exports holds what was measured against these bounds, and so does every reader of a manifest.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from diptych.bundle.part import Part

MIN_IMAGES, MIN_TEXTS = 1000, 100
MIN_BATCH_COSINE = 0.99999  # one item alone, in a full batch and beside others: every precision

Cosine = Annotated[float, Field(ge=-1.00001, le=1.00001)]  # rounding may pass 1 by an ulp
Measure = Literal["cosine_min", "cosine_mean", "top1_agreement", "batch_cosine_min", "n_images", "n_texts"]


class Parity(Part):
    """How far one precision is from the float32 torch model, measured at export on real items."""

    cosine_min: Cosine
    cosine_mean: Cosine
    top1_agreement: float = Field(ge=0, le=1)
    n_near_ties: int = Field(ge=0)  # items whose reference margin is within the error: counted apart
    recall_delta: float = Field(ge=-1, le=1)
    batch_cosine_min: Cosine  # one item alone against the same item in a full batch
    n_images: int = Field(ge=0)
    n_texts: int = Field(ge=0)


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
    "int8": (Bound("cosine_mean", 0.99), Bound("top1_agreement", 0.98), *EVERY_PRECISION),
}


def broken_bounds(parity: Parity, precision: str) -> list[str]:
    """One sentence for each bound that the measured parity does not keep; empty when it may be published."""
    found = [(bound, float(getattr(parity, bound.measure))) for bound in BOUNDS[precision]]
    # `not >=` instead of `<`: a NaN breaks its bound.
    return [
        f"{b.measure} is {value:.7g}, the bound is {b.lowest:.7g}"
        for b, value in found
        if not value >= b.lowest
    ]
