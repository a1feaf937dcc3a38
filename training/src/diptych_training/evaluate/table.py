"""An evaluation as Markdown tables that also read well in a terminal."""

from collections.abc import Callable, Sequence

from diptych_training.data.packed import Kind
from diptych_training.evaluate.results import KINDS, Evaluation, Means, Scores, SourceResult
from diptych_training.reports.markdown import markdown_document, markdown_table

Row = list[str]
Pick = Callable[[SourceResult | Means], Scores | None]

HEADER = [
    "source", "images", "classes", "pixel floor", "top-1", "top-5",
    "text_to_image R@1", "R@5", "R@10", "image_to_text R@1", "R@5", "R@10",
]  # fmt: skip
FLOORS_NOTE = (
    "Pixel floors come from two measures: floors that the data set states (for the emoji styles of `eval`) "
    "are shown as stated; all others are measured here on 16 x 16 cells of mean colour. Do not compare them."
)
TITLES: dict[Kind, str] = {"emoji": "Emoji styles", "icons": "Icon sets", "pairs": "Image-text pairs"}


def evaluation_tables(evaluation: Evaluation) -> str:
    """Markdown with macro means, then every source, with and without near duplicates of training images."""
    sections = [
        f"# {evaluation.model} on {evaluation.dataset}/{evaluation.split}",
        "Zero-shot top-k over the classes of each source, retrieval Recall@k within each source. "
        f"Templates: {', '.join(f'`{template}`' for template in evaluation.templates)}. "
        f"Runtime: {evaluation.runtime}. The pixel floor is the top-1 of the nearest training image by "
        "pixels, without any learning.",
        "## Means over sources",
        means_table(evaluation),
        FLOORS_NOTE,
    ]
    for kind in KINDS:
        results = evaluation.of_kind(kind)
        if results:
            sections += [f"## {TITLES[kind]}", source_table(results, lambda result: result.all)]
        if any(result.far is not None for result in results):
            sections += ["Without near duplicates:", source_table(results, lambda result: result.far)]
    return markdown_document(sections)


def means_table(evaluation: Evaluation) -> str:
    """One row for each kind and each choice of images; every source counts once."""
    rows: list[Row] = []
    for kind, means in evaluation.means().items():
        n_classes = f"{means.n_sources} sources"
        title = TITLES[kind].lower()
        rows.append(_row(f"**{title}**", n_classes, means.pixel_floor, means.all))
        if means.far is not None:
            rows.append(_row(f"{title}, no near duplicates", n_classes, None, means.far))
    return markdown_table(["kind", "images", "of", *HEADER[3:]], rows)


def source_table(results: Sequence[SourceResult], pick: Pick) -> str:
    """One row for each source for which `pick` returns scores; pixel floors apply to all images only."""
    rows: list[Row] = []
    for result in results:
        scores = pick(result)
        if scores is not None:
            floor = result.pixel_floor if scores is result.all else None
            rows.append(_row(result.source, f"{result.n_classes:,}", floor, scores))
    return markdown_table(HEADER, rows)


def _row(name: str, n_classes: str, floor: float | None, scores: Scores) -> Row:
    rates = [*scores.zero_shot.values(), *scores.text_to_image.values(), *scores.image_to_text.values()]
    return [
        name,
        f"{scores.n_images:,}",
        n_classes,
        "–" if floor is None else f"{floor:.3f}",
        *(f"{rate:.3f}" for rate in rates),
    ]
