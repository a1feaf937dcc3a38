"""The gate of publication: its bounds are those of every reader. Knows nothing of how parity is measured."""

from diptych.bundle.manifest import Parity
from diptych.bundle.parity import BOUNDS, MIN_BATCH_COSINE, MIN_IMAGES, broken_bounds
from diptych_training.errors import ParityFailed
from diptych_training.evaluate.table import markdown_table

__all__ = ["MIN_BATCH_COSINE", "MIN_IMAGES", "broken_bounds", "parity_table", "require_parity"]


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
