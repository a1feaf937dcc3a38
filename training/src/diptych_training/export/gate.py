"""The bounds that a precision must keep to be published; knows nothing of how parity is measured."""

from dataclasses import dataclass
from typing import Literal

from diptych.bundle.manifest import Parity
from diptych_training.errors import ParityFailed
from diptych_training.evaluate.table import markdown_table

MIN_IMAGES, MIN_TEXTS = 1000, 100
MIN_BATCH_COSINE = 0.99999  # one item alone, in a full batch and beside others: every precision

Measure = Literal["cosine_min", "cosine_mean", "top1_agreement", "batch_cosine_min", "n_images", "n_texts"]


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


def require_parity(parity: Parity, precision: str) -> None:
    """Raises ParityFailed naming the precision, each broken bound and its value."""
    broken = broken_bounds(parity, precision)
    if broken:
        raise ParityFailed(f"{precision} does not follow the float32 original: {'; '.join(broken)}")


def parity_table(parities: dict[str, Parity]) -> str:
    """Markdown: one row for each measure, one column for each precision, its bound in brackets."""
    bounds: dict[str, dict[str, float]] = {
        name: {bound.measure: bound.lowest for bound in BOUNDS[name]} for name in parities
    }
    rows = [
        [measure, *(_cell(getattr(p, measure), bounds[name].get(measure)) for name, p in parities.items())]
        for measure in Parity.model_fields
    ]
    return markdown_table(["parity", *parities], rows)


def _cell(value: float, lowest: float | None) -> str:
    text = f"{value:,}" if isinstance(value, int) else f"{value:.7f}"
    return text if lowest is None else f"{text} (>= {lowest:g})"
