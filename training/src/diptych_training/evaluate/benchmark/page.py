"""A benchmark as one HTML page: figures in words, bars, curves, worst confusions as pictures, tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import chain, zip_longest

from diptych.bundle.encoder import Pixels
from diptych_training.evaluate.benchmark.curves import few_shot_svg
from diptych_training.evaluate.benchmark.results import Confused, Result
from diptych_training.evaluate.benchmark.summary import (
    Summary,
    curve,
    group_title,
    mean_score,
    of_models,
    shots_text,
    summary,
)
from diptych_training.evaluate.benchmark.table import (
    HEADER,
    few_shot_header,
    few_shot_rows,
    points,
    retrieval_header,
    retrieval_rows,
    zero_shot_rows,
)
from diptych_training.reports.page import document, section, table
from diptych_training.reports.pictures import picture_uri
from diptych_training.reports.text import html_caption, html_text, signed_points

N_COLOURS = 6
MAX_CONFUSIONS = 24  # of one model
SHOWN_TEMPLATES = 12
Picture = Callable[[str, int], Pixels | None]  # name of a data set, number of a test picture -> (S, S, 3)


def benchmark_page(results: Sequence[Result], picture: Picture) -> str:
    """The page of all models. `picture` finds a test picture; None if its data set is not at hand."""
    models = of_models(results)
    names = " and ".join(models) if len(models) < 3 else f"{len(models)} models"
    style = files("diptych_training.evaluate.benchmark").joinpath("style.css").read_text("utf-8")
    sets = len({result.data_set for result in results})
    lead = (
        f"<p>Measured on {sets} data {'set' if sets == 1 else 'sets'}, {_n_images(results):,} pictures.</p>"
    )
    footer = '<p class="note">Made by diptych-train benchmark.</p>'
    return document(f"Benchmark of {names}", lead, _sections(models, picture), footer, style)


def _n_images(results: Sequence[Result]) -> int:
    return sum({result.data_set: result.n_images for result in results}.values())


def _sections(models: Mapping[str, list[Result]], picture: Picture) -> Iterator[str]:
    yield _summaries([found for own in models.values() if (found := summary(own)) is not None])
    yield _bars(models)
    yield _curves(models)
    for model, own in models.items():
        yield _confusions(model, own, picture, is_alone=len(models) == 1)
    yield _tables(models)
    yield _templates(models)


def _summaries(found: Sequence[Summary]) -> str:
    if not found:
        return ""
    return section("In short", "\n".join(f'<p class="lead">{_sentence(one)}</p>' for one in found))


def _sentence(one: Summary) -> str:
    gain = one.means["ensemble"] - one.means["name"]
    text = (
        f"<b>{html_text(one.model)}</b>: zero-shot {points(one.means['ensemble'])} points, the mean of "
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
    return section("Zero-shot on each data set", f'<p class="note">{note}</p>\n' + "\n".join(parts))


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
    tables = "".join(
        f"<h3>{html_text(model)}</h3>{table(few_shot_header(own), _escaped(few_shot_rows(own)))}"
        for model, own in models.items()
        if any(one.few_shot for one in own)
    )
    body = (
        f'<p class="note">{note}</p>{_legend(models)}<div class="figures">{"".join(figures)}</div>'
        f"<details><summary>As a table</summary>{tables}</details>"
    )
    return section("Zero-shot against a few examples", body)


def _confusions(model: str, results: Sequence[Result], picture: Picture, *, is_alone: bool) -> str:
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
    heading = "Worst confusions" if is_alone else f"Worst confusions of {html_text(model)}"
    return section(heading, f'<p class="note">{note}</p>\n<ul class="cards small">{"".join(cards)}</ul>')


def _card(result: Result, one: Confused, pixels: Pixels) -> str:
    return (
        f'<li class="card changed"><img src="{picture_uri(pixels)}" alt="{html_text(one.right)}">'
        f'<dl><dt>is</dt><dd><span class="right">{html_caption(one.right)}</span></dd>'
        f'<dt>taken for</dt><dd><span class="wrong">{html_caption(one.given)}</span> '
        f"{one.probability:.0%}</dd>"
        f'</dl><p class="where">{html_caption(result.data_set)}</p></li>\n'
    )


def _tables(models: Mapping[str, list[Result]]) -> str:
    parts = []
    for model, own in models.items():
        parts.append(f"<h3>{html_text(model)} ({html_text(own[0].runtime)})</h3>")
        if any(one.zero_shot for one in own):
            parts.append(table(HEADER, _escaped(zero_shot_rows(own))))
        if any(one.retrieval is not None for one in own):
            parts.append(
                f"<details><summary>Retrieval</summary>"
                f"{table(retrieval_header(own), _escaped(retrieval_rows(own)))}</details>"
            )
    return section("All figures", "\n".join(parts))


def _templates(models: Mapping[str, list[Result]]) -> str:
    """The templates of each group of data sets that shares them."""
    used: dict[tuple[str, ...], list[str]] = {}
    for result in chain.from_iterable(models.values()):
        if result.templates:
            names = used.setdefault(result.templates, [])
            names += [result.data_set] if result.data_set not in names else []
    rows = [
        [_some(names), html_text("; ".join(templates[:SHOWN_TEMPLATES]))] for templates, names in used.items()
    ]
    return (
        section("Templates", f'<div class="words">{table(["data sets", "templates"], rows)}</div>')
        if rows
        else ""
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return html_text(shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more")


def _escaped(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    """Cells as HTML; what Markdown writes in bold is bold."""

    def cell(text: str) -> str:
        bold = text.startswith("**") and text.endswith("**")
        return f"<b>{html_text(text.strip('*'))}</b>" if bold else html_text(text)

    return [[cell(text) for text in row] for row in rows]
