"""Check parity against the bounds for publication, and format the parity table."""

from diptych.bundle.manifest import Parity
from diptych.bundle.parity import BOUNDS, MIN_BATCH_COSINE, MIN_IMAGES, MIN_TEXTS, broken_bounds
from diptych_training.errors import ParityFailed, TooFewSamples
from diptych_training.export.proof.parity import MIN_JUDGED
from diptych_training.reports.markdown import markdown_table

__all__ = ["MIN_BATCH_COSINE", "MIN_IMAGES", "broken_bounds", "parity_table", "require_parity"]

COUNTS = ("n_images is", "n_texts is")  # prefixes of reasons about the sample, not the model


def require_parity(parity: Parity, precision: str) -> None:
    """Raise ParityFailed naming the precision, each broken bound and its value.

    Raises TooFewSamples if only the numbers of images and texts are below their bounds.
    """
    broken = broken_bounds(parity, precision)
    if broken and all(reason.startswith(COUNTS) for reason in broken):
        raise TooFewSamples(
            f"{precision} has no sufficient proof: {parity.n_images:,} images and {parity.n_texts:,} texts "
            f"were compared, at least {MIN_IMAGES:,} and {MIN_TEXTS} are needed"
        )
    if broken:
        raise ParityFailed(f"{precision} does not match the float32 original: {'; '.join(broken)}")


def parity_table(parities: dict[str, Parity], n_texts_left_out: int | None = None) -> str:
    """Markdown table: a row for each measure with its bound, and one for the number of images judged.

    `n_texts_left_out`: number of texts that were not measured, since their ids differ from the original's.
    """
    bounds: dict[str, dict[str, float]] = {
        name: {bound.measure: bound.lowest for bound in BOUNDS[name]} for name in parities
    }
    rows = [
        [measure, *(_cell(getattr(p, measure), bounds[name].get(measure)) for name, p in parities.items())]
        for measure in Parity.model_fields
    ]
    rows.append(["images judged by top1_agreement", *(_judged(parity) for parity in parities.values())])
    if n_texts_left_out is not None:
        rows.append(
            ["texts left out: other ids than in the original", *[f"{n_texts_left_out:,}"] * len(parities)]
        )
    return markdown_table(["parity", *parities], rows)


def _judged(parity: Parity) -> str:
    n_clear = parity.n_images - parity.n_near_ties
    n_judged = n_clear if n_clear >= MIN_JUDGED * parity.n_images else parity.n_images
    return f"{n_judged:,} of {parity.n_images:,}"


def _cell(value: float, lowest: float | None) -> str:
    text = f"{value:,}" if isinstance(value, int) else f"{value:.7f}"
    return text if lowest is None else f"{text} (>= {lowest:g})"
