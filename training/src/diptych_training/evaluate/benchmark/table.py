"""Results as Markdown tables that also read well in a terminal."""

from collections.abc import Iterator, Sequence

from diptych_training.evaluate.benchmark.results import Prompts, Result
from diptych_training.evaluate.benchmark.summary import (
    PROMPTS,
    curve,
    equal_shots,
    group_title,
    mean_score,
    of_models,
    shots_text,
)
from diptych_training.reports.markdown import markdown_table

HEADER = [
    "data set", "group", "pictures", "classes", "metric", "name alone", "one template", "ensemble", "probe",
]  # fmt: skip


def benchmark_tables(results: Sequence[Result]) -> str:
    """A section for each model: the means of each group, then every data set."""
    sections = []
    for model, own in of_models(results).items():
        sections += [f"# {model}", markdown_table(HEADER, list(zero_shot_rows(own)), n_words=2)]
        if any(result.few_shot for result in own):
            sections += ["## Few-shot probes", markdown_table(few_shot_header(own), list(few_shot_rows(own)))]
        if any(result.retrieval is not None for result in own):
            sections += ["## Retrieval", markdown_table(retrieval_header(own), list(retrieval_rows(own)))]
    return "\n\n".join(sections) + "\n"


def zero_shot_rows(results: Sequence[Result]) -> Iterator[list[str]]:
    """Zero-shot and probe by each data set's own metric, in points: means of groups, then data sets."""
    scored = [result for result in results if result.zero_shot]
    for group in dict.fromkeys(result.group for result in scored):
        own = [result for result in scored if result.group == group]
        n_images = sum(result.n_images for result in own)
        means = [points(mean_score(own, prompts)) for prompts in PROMPTS]
        yield [f"**mean of {len(own)}**", group_title(group), f"{n_images:,}", "", "", *means, ""]
    for result in scored:
        probe = None if result.probe is None else result.probe.metrics[result.metric]
        yield [
            result.data_set, group_title(result.group), f"{result.n_images:,}", _classes(result),
            result.metric.replace("_", " "), *_by_prompts(result), points(probe),
        ]  # fmt: skip


def few_shot_header(results: Sequence[Result]) -> list[str]:
    """The names of the columns of `few_shot_rows`."""
    return ["data set", "zero-shot", *(f"{k} a class" for k in _shots(results)), "all", "equal to zero-shot"]


def few_shot_rows(results: Sequence[Result]) -> Iterator[list[str]]:
    """Means over seeds, in points, and the examples with which a probe equals zero-shot."""
    for result in results:
        if result.few_shot:
            found = dict(curve(result))
            all_of_them = None if result.probe is None else result.probe.metrics[result.metric]
            yield [
                result.data_set, points(result.score()), *(points(found.get(k)) for k in _shots(results)),
                points(all_of_them), shots_text(equal_shots(result), max(found)),
            ]  # fmt: skip


def retrieval_header(results: Sequence[Result]) -> list[str]:
    """The names of the columns of `retrieval_rows`."""
    ways = ("text to image", "image to text")
    return ["data set", *(f"{way} R@{k}" for way in ways for k in _ks(results))]


def retrieval_rows(results: Sequence[Result]) -> Iterator[list[str]]:
    """Recall@k in both directions, in points."""
    for result in results:
        if result.retrieval is not None:
            ways = (result.retrieval.text_to_image, result.retrieval.image_to_text)
            yield [result.data_set, *(points(way.get(k)) for way in ways for k in _ks(results))]


def points(share: float | None) -> str:
    """A share in points, or a dash."""
    return "–" if share is None else f"{100 * share:.1f}"


def _classes(result: Result) -> str:
    unknown = f" ({result.n_unknown:,} unknown)" if result.n_unknown else ""
    return f"{result.n_texts:,}{unknown}"


def _by_prompts(result: Result) -> list[str]:
    scores: dict[Prompts, float | None] = {prompts: result.score(prompts) for prompts in PROMPTS}
    return [points(score) for score in scores.values()]


def _shots(results: Sequence[Result]) -> list[int]:
    return sorted({one.shots for result in results for one in result.few_shot})


def _ks(results: Sequence[Result]) -> list[int]:
    return sorted({k for one in results if one.retrieval is not None for k in one.retrieval.text_to_image})
