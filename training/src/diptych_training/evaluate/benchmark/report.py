"""A benchmark as a report: figures in words, bars, curves, worst confusions as pictures, tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import chain, zip_longest

from diptych.bundle.encoder import Pixels
from diptych_training.evaluate.benchmark.curves import few_shot_svg
from diptych_training.evaluate.benchmark.results import Confused, Prompts, Result
from diptych_training.evaluate.benchmark.summary import (
    PROMPTS,
    Summary,
    curve,
    equal_shots,
    group_title,
    mean_score,
    of_models,
    shots_text,
    summary,
)
from diptych_training.reports.pictures import picture_uri
from diptych_training.reports.report import Figure, Report, Section, Table, Text
from diptych_training.reports.text import html_caption, html_text, points, signed_points

HEADER = [
    "data set", "group", "pictures", "classes", "metric", "name alone", "one template", "ensemble", "probe",
]  # fmt: skip


N_COLOURS = 6
MAX_CONFUSIONS = 24  # of one model
SHOWN_TEMPLATES = 12
Picture = Callable[[str, int], Pixels | None]  # name of a data set, number of a test picture -> (S, S, 3)


def benchmark_report(results: Sequence[Result], picture: Picture) -> Report:
    """The report on all models. `picture` finds a test picture; None if its data set is not at hand."""
    models = of_models(results)
    names = " and ".join(models) if len(models) < 3 else f"{len(models)} models"
    sets = len({result.data_set for result in results})
    n_images = sum({result.data_set: result.n_images for result in results}.values())
    return Report(
        title=f"Benchmark of {names}",
        lead=f"Measured on {sets} data {'set' if sets == 1 else 'sets'}, {n_images:,} pictures.",
        sections=list(_sections(models, picture)),
        footer=(Text("Made by diptych-train benchmark.", "note"),),
        style=files("diptych_training.evaluate.benchmark").joinpath("style.css").read_text("utf-8"),
    )


def _sections(models: Mapping[str, list[Result]], picture: Picture) -> Iterator[Section]:
    found = [one for own in models.values() if (one := summary(own)) is not None]
    yield Section("In short", [Text(_sentence(one), "lead") for one in found])
    yield Section("Zero-shot on each data set", [Figure(_bars(models))])
    yield Section("All figures", [one for model, own in models.items() for one in _tables(model, own)])
    yield Section("Zero-shot against a few examples", [Figure(_curves(models)), *_few_shot_tables(models)])
    for model, own in models.items():
        heading = "Worst confusions" if len(models) == 1 else f"Worst confusions of {model}"
        yield Section(heading, [Figure(_confusions(own, picture))])
    yield Section("Templates", _templates(models))


def _sentence(one: Summary) -> str:
    gain = one.means["ensemble"] - one.means["name"]
    text = (
        f"{one.model}: zero-shot {points(one.means['ensemble'])} points, the mean of "
        f"{one.n} data sets by their own metrics. The ensemble of prompts changes the mean by "
        f"{signed_points(gain)} against names alone: {one.n_better} better, {one.n_worse} worse."
    )
    if one.probe_gain is not None:
        text += (
            f" A linear probe on all training pictures is {signed_points(one.probe_gain)} points from "
            f"zero-shot, the mean of {one.n_probes}."
        )
    if one.shots is not None:
        text += f" Examples a class that zero-shot is worth (median): {shots_text(one.shots)}."
    return text


def _bars(models: Mapping[str, list[Result]]) -> str:
    """Groups of data sets, best first; in each, one bar for each model."""
    scored = {model: {r.data_set: r for r in own if r.zero_shot} for model, own in models.items()}
    every = [result for own in scored.values() for result in own.values()]
    if not every:
        return ""
    parts = [_legend(models)]
    for group in dict.fromkeys(result.group for result in every):
        of_group = [result for result in every if result.group == group]
        names = sorted(
            dict.fromkeys(result.data_set for result in of_group),
            key=lambda name: -mean_score([one for one in of_group if one.data_set == name]),
        )
        rows = "".join(_bar_row(name, [own.get(name) for own in scored.values()]) for name in names)
        means = ", ".join(
            points(mean_score(some))
            for own in scored.values()
            if (some := [one for one in own.values() if one.group == group])
        )
        parts.append(
            f'<h3>{html_text(group_title(group))} <span class="rank">mean {means}</span></h3>'
            f'<ul class="bars">{rows}</ul>'
        )
    note = (
        "The length of a bar is zero-shot with the ensemble of templates, by the metric of the data set; "
        "the mark is the class name alone, the ring a linear probe on all training pictures. A thin line is "
        "chance."
    )
    return f'<p class="note">{note}</p>\n' + "\n".join(parts)


def _legend(models: Iterable[str]) -> str:
    items = "".join(
        f'<li><i class="key c{number % N_COLOURS}"></i>{html_text(model)}</li>'
        for number, model in enumerate(models)
    )
    return f'<ul class="legend">{items}</ul>'


def _bar_row(name: str, results: Sequence[Result | None]) -> str:
    tracks = "".join(
        _track(result, number % N_COLOURS) for number, result in enumerate(results) if result is not None
    )
    return f'<li><span class="name">{html_caption(name)}</span><div>{tracks}</div></li>\n'


def _track(result: Result, colour: int) -> str:
    score, alone = result.score() or 0.0, result.score("name") or 0.0
    chance = f'<i class="chance" style="left:{100 / result.n_texts:.2f}%"></i>' if result.n_texts > 1 else ""
    probe = result.probe
    ring = (
        ""
        if probe is None
        else f'<i class="ring c{colour}" style="left:{100 * probe.metrics[result.metric]:.2f}%" '
        f'title="linear probe: {points(probe.metrics[result.metric])}"></i>'
    )
    return (
        f'<div class="track"><span class="rail">'
        f'<i class="bar c{colour}" style="width:{100 * score:.2f}%"></i>'
        f'{chance}<i class="mark" style="left:{100 * alone:.2f}%" title="name alone: {points(alone)}"></i>'
        f"{ring}"
        f"</span><b>{points(score)}</b></div>"
    )


def _curves(models: Mapping[str, list[Result]]) -> str:
    """Small curves, one for each data set with few-shot probes."""
    names = dict.fromkeys(one.data_set for own in models.values() for one in own if curve(one))
    figures = []
    for name in names:
        found = [
            (number % N_COLOURS, one)
            for number, own in enumerate(models.values())
            for one in own
            if one.data_set == name and one.few_shot
        ]
        svg = few_shot_svg([one for _, one in found], [colour for colour, _ in found])
        figures.append(f"<figure><figcaption><b>{html_caption(name)}</b></figcaption>{svg}</figure>")
    if not figures:
        return ""
    note = (
        "A logistic regression on the embeddings of a few training pictures of each class: the line is the "
        "mean, each dot one draw of pictures. Dashed: zero-shot with the ensemble. Points are of the metric "
        "of the data set."
    )
    return f'<p class="note">{note}</p>{_legend(models)}<div class="figures">{"".join(figures)}</div>'


def _few_shot_tables(models: Mapping[str, list[Result]]) -> Iterator[Table]:
    for model, own in models.items():
        shots = sorted({one.shots for result in own for one in result.few_shot})
        header = ["data set", "zero-shot", *(f"{k} a class" for k in shots), "all", "equal to zero-shot"]
        if shots:
            yield Table(header, list(_few_shot_rows(own, shots)), fold=f"As a table: {html_text(model)}")


def _few_shot_rows(results: Sequence[Result], shots: Sequence[int]) -> Iterator[list[str]]:
    """Means over seeds, in points, and the examples with which a probe equals zero-shot."""
    for result in results:
        if result.few_shot:
            found = dict(curve(result))
            all_of_them = None if result.probe is None else result.probe.metrics[result.metric]
            yield [
                result.data_set, points(result.score()), *(points(found.get(k)) for k in shots),
                points(all_of_them), shots_text(equal_shots(result.score(), curve(result)), max(found)),
            ]  # fmt: skip


def _confusions(results: Sequence[Result], picture: Picture) -> str:
    """The worst of each data set first, then the second ones."""
    rounds = zip_longest(*([(result, one) for one in result.confusions] for result in results))
    ordered = (found for found in chain.from_iterable(rounds) if found is not None)
    cards: list[str] = []
    for result, one in ordered:
        pixels = picture(result.data_set, one.picture)
        if pixels is not None:
            cards.append(_card(result, one, pixels))
        if len(cards) == MAX_CONFUSIONS:
            break
    if not cards:
        return ""
    note = (
        "The pictures whose wrong class beats the right one by the widest margin, with the probability of "
        "the wrong one among the classes of the data set."
    )
    return f'<p class="note">{note}</p>\n<ul class="cards small">{"".join(cards)}</ul>'


def _card(result: Result, one: Confused, pixels: Pixels) -> str:
    return (
        f'<li class="card changed"><img src="{picture_uri(pixels)}" alt="{html_text(one.right)}">'
        f'<dl><dt>is</dt><dd><span class="right">{html_caption(one.right)}</span></dd>'
        f'<dt>taken for</dt><dd><span class="wrong">{html_caption(one.given)}</span> '
        f"{one.probability:.0%}</dd>"
        f'</dl><p class="where">{html_caption(result.data_set)}</p></li>\n'
    )


def _tables(model: str, own: Sequence[Result]) -> Iterator[Figure | Table]:
    title = f"{model} ({own[0].runtime})"
    yield Figure(f"<h3>{html_text(title)}</h3>", f"### {title}")
    if any(one.zero_shot for one in own):
        yield Table(HEADER, list(_zero_shot_rows(own)), n_words=2)
    recalls = [(one.data_set, one.retrieval) for one in own if one.retrieval is not None]
    ks = sorted({k for _, found in recalls for k in found.text_to_image})
    if recalls:
        ways = ("text to image", "image to text")
        rows = [
            [name, *(points(way.get(k)) for way in (found.text_to_image, found.image_to_text) for k in ks)]
            for name, found in recalls
        ]
        yield Table(["data set", *(f"{way} R@{k}" for way in ways for k in ks)], rows, fold="Retrieval")


def _zero_shot_rows(results: Sequence[Result]) -> Iterator[list[str]]:
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


def _classes(result: Result) -> str:
    unknown = f" ({result.n_unknown:,} unknown)" if result.n_unknown else ""
    return f"{result.n_texts:,}{unknown}"


def _by_prompts(result: Result) -> list[str]:
    scores: dict[Prompts, float | None] = {prompts: result.score(prompts) for prompts in PROMPTS}
    return [points(score) for score in scores.values()]


def _templates(models: Mapping[str, list[Result]]) -> list[Table]:
    """The templates of each group of data sets that shares them."""
    used: dict[tuple[str, ...], list[str]] = {}
    for result in chain.from_iterable(models.values()):
        if result.templates:
            names = used.setdefault(result.templates, [])
            names += [result.data_set] if result.data_set not in names else []
    rows = [[_some(names), "; ".join(templates[:SHOWN_TEMPLATES])] for templates, names in used.items()]
    return [Table(["data sets", "templates"], rows, n_words=2, style="templates")] if rows else []


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
