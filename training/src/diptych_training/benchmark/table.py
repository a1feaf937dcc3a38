"""Results as Markdown tables that also read well in a terminal."""

from collections.abc import Sequence
from statistics import fmean

from diptych_training.benchmark.results import Prompts, Result
from diptych_training.evaluate.table import markdown_table

HEADER = ["data set", "group", "pictures", "classes", "metric", "name alone", "one template", "ensemble"]
PROMPTS: tuple[Prompts, ...] = ("name", "one_template", "ensemble")


def benchmark_tables(results: Sequence[Result]) -> str:
    """A section for each model: the means of each group, then every data set."""
    models = list(dict.fromkeys(result.model for result in results))
    sections = []
    for model in models:
        own = [result for result in results if result.model == model]
        sections += [f"# {model}", zero_shot_table(own)]
        if any(result.retrieval is not None for result in own):
            sections += ["## Retrieval", retrieval_table(own)]
    return "\n\n".join(sections) + "\n"


def zero_shot_table(results: Sequence[Result]) -> str:
    """Zero-shot by each data set's own metric, in points, with and without prompts."""
    scored = [result for result in results if result.zero_shot]
    rows = [_mean_row(group, scored) for group in dict.fromkeys(result.group for result in scored)]
    rows += [
        [
            result.data_set, result.group, f"{result.n_images:,}", f"{result.n_texts:,}", result.metric,
            *(_points(result.score(prompts)) for prompts in PROMPTS),
        ]
        for result in scored
    ]  # fmt: skip
    return markdown_table(HEADER, rows, n_words=2)


def retrieval_table(results: Sequence[Result]) -> str:
    """Recall@k in both directions, in points."""
    found = [(result, result.retrieval) for result in results if result.retrieval is not None]
    ks = sorted({k for _, recalls in found for k in recalls.text_to_image})
    ways = ("text to image", "image to text")
    rows = [
        [
            result.data_set,
            *(_points(way[k]) for way in (recalls.text_to_image, recalls.image_to_text) for k in ks),
        ]
        for result, recalls in found
    ]
    return markdown_table(["data set", *(f"{way} R@{k}" for way in ways for k in ks)], rows)


def _mean_row(group: str, results: Sequence[Result]) -> list[str]:
    own = [result for result in results if result.group == group]
    means = [fmean(result.zero_shot[name][result.metric] for result in own) for name in PROMPTS]
    n_images = sum(result.n_images for result in own)
    return [f"**mean of {len(own)}**", group, f"{n_images:,}", "", "", *map(_points, means)]


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
