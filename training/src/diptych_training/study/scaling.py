"""Zero-shot error against training compute, for a series of models (figure 9 of the paper).

Each kind of image tower has a law of its own. Its interval holds what changes between data sets and pictures,
and what the law does not explain: the scatter of the models around it, seeds included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from diptych_training.reports.markdown import markdown_table
from diptych_training.study.fits import (
    COLOURS,
    Floats,
    Interval,
    Measured,
    PowerLaw,
    Redraw,
    line,
    of_shares,
    over_data_sets,
    power_law,
    style_axis,
)
from diptych_training.study.plan import Scaling
from diptych_training.study.results import Result

FIGURE = "study-scaling.png"
MIN_FITTED = 3  # models: any two points lie on a line
FIGURES = {
    "error_of_all": "error among all names",
    "error": "error among few names",
    "nll_of_all": "cross-entropy among all names",
}
HEADLINE = "error_of_all"


@dataclass(frozen=True)
class Trained:
    """One model of a series: compute, its figures by their names, and whether it was measured after the
    prediction of this sha256.
    """

    title: str
    tower: str
    flops: float
    images: int
    text_length: int
    figures: Mapping[str, Measured]
    prediction: str | None = None

    def value(self, figure: str) -> float:
        """The mean over seeds and data sets."""
        return float(self.figures[figure].mean())


def trained_models(part: Scaling, results: Sequence[Result]) -> list[Trained]:
    """The models that are measured, least compute first."""
    found = []
    for variant in part.variants:
        own = [one for one in results if one.variant == variant.name]
        if own:
            first = own[0]
            found.append(
                Trained(
                    variant.title,
                    first.tower or "",
                    first.flops or 0.0,
                    first.images or 0,
                    first.text_length or 0,
                    {figure: _measured(own, figure) for figure in FIGURES},
                    first.prediction,
                )
            )
    return sorted(found, key=lambda one: one.flops)


def _measured(results: Sequence[Result], figure: str) -> Measured:
    sets = sorted(results[0].kinds)
    kinds = tuple(results[0].kinds[name] for name in sets)

    def column(key: str) -> Floats:
        return np.array([[one.scores[name][key] for name in sets] for one in results])

    n = column("n" if figure == "error" else "n_of_all")
    if figure == "nll_of_all":
        return Measured(column(figure), column("nll_of_all_sd") / np.sqrt(n), kinds)
    return of_shares(column(figure), n, kinds)


@dataclass(frozen=True)
class Predicted:
    """What a law says about a model: its figure, and the interval in which it should be found."""

    title: str
    value: float
    interval: Interval


@dataclass(frozen=True)
class ScalingLaw:
    """The law of one figure of the smaller models with one kind of image tower, and what it predicts."""

    tower: str
    figure: str
    n_fitted: int
    law: PowerLaw
    exponent: Interval
    predicted: tuple[Predicted, ...]


def scaling_law(
    models: Sequence[Trained], figure: str, larger: Sequence[tuple[str, float]]
) -> ScalingLaw | None:
    """The law of models with the same kind of tower, for `larger` ones of which title and FLOPs are known.

    None with too few models to fit.
    """
    if len(models) < MIN_FITTED:
        return None
    flops, kinds = np.array([one.flops for one in models]), models[0].figures[figure].kinds
    law = power_law(flops, [one.value(figure) for one in models])
    logs = np.log(flops)
    around = np.square(logs - logs.mean()).sum()
    scatter = max(_residual(law, models, figure), _seed_scatter(models, figure))

    def redrawn(draw: Redraw) -> tuple[Floats, Floats]:
        return line(logs, np.log(np.stack([one.figures[figure].redrawn(draw) for one in models], axis=-1)))

    def noise(draw: Redraw) -> Floats:
        return scatter * draw.rng.standard_t(len(models) - 2, size=len(draw.sets))

    def predicted(title: str, x: float) -> Predicted:
        width = np.sqrt(1 + 1 / len(models) + (np.log(x) - logs.mean()) ** 2 / around)

        def value(draw: Redraw) -> Floats:
            exponent, at_0 = redrawn(draw)
            return np.asarray(np.exp(at_0 + exponent * np.log(x) + width * noise(draw)))

        return Predicted(title, law(x), over_data_sets(kinds, value))

    exponent = over_data_sets(kinds, lambda draw: redrawn(draw)[0] + noise(draw) / np.sqrt(around))
    found = tuple(predicted(title, x) for title, x in larger)
    return ScalingLaw(models[0].tower, figure, len(models), law, exponent, found)


def _residual(law: PowerLaw, models: Sequence[Trained], figure: str) -> float:
    """The deviation of the logarithms from the law."""
    off = [np.log(one.value(figure) / law(one.flops)) for one in models]
    return float(np.sqrt(np.square(off).sum() / (len(models) - 2)))


def _seed_scatter(models: Sequence[Trained], figure: str) -> float:
    """The deviation of the logarithms between seeds, pooled over the models that have several; else 0."""
    logs = [np.log(one.figures[figure].values.mean(axis=-1)) for one in models]
    several = [own for own in logs if len(own) > 1]
    n_free = sum(len(own) - 1 for own in several)
    return (
        float(np.sqrt(sum(np.square(own - own.mean()).sum() for own in several) / n_free)) if n_free else 0.0
    )


def scaling_laws(models: Sequence[Trained], part: Scaling) -> list[ScalingLaw]:
    """Every figure's law of the smaller models of each kind of tower, for those of the larger ones that are
    measured.
    """
    later = {variant.title for variant in part.variants[-part.predicted :]}
    found = []
    for tower in dict.fromkeys(one.tower for one in models):
        own = [one for one in models if one.tower == tower]
        fitted = [one for one in own if one.title not in later]
        larger = [(one.title, one.flops) for one in own if one.title in later]
        laws = (scaling_law(fitted, figure, larger) for figure in FIGURES)
        found += [law for law in laws if law is not None]
    return found


def scaling_section(models: Sequence[Trained], laws: Sequence[ScalingLaw], prediction: str | None) -> str:
    """Figure, table, and the laws. `prediction` is the sha256 of the file of predictions, if there is one."""
    first = models[0]
    header = ["model", "MFLOPs an image", "images", "TFLOPs in all", *FIGURES.values(), "seeds"]
    rows = [
        [
            one.title, f"{one.flops / one.images / 1e6:,.1f}", f"{one.images:,}", f"{one.flops / 1e12:.3g}",
            *(_value_text(figure, one.value(figure), one.figures[figure].interval()) for figure in FIGURES),
            str(len(one.figures[HEADLINE].values)),
        ]
        for one in models
    ]  # fmt: skip
    text = (
        f"The mean of {len(first.figures[HEADLINE].kinds)} data sets, by the name alone. FLOPs are those of "
        f"training, forward and backward, with captions of {first.text_length} tokens, padding included. "
        "Intervals of 95%: data sets of each kind, pictures and seeds drawn again; those of laws hold the "
        "scatter of models around the law, too."
    )
    late = [one.title for one in models if one.prediction is not None and one.prediction != prediction]
    if late:
        text += f" **Measured by another prediction than the one that is stored: {', '.join(late)}.**"
    alt = "Mean zero-shot error against training compute"
    lines = [_law_text(law, models) for law in laws]
    return "\n\n".join([f"![{alt}](figures/{FIGURE})", markdown_table(header, rows), text, *lines])


def _value_text(figure: str, value: float, interval: Interval) -> str:
    if figure.startswith("error"):
        return f"{100 * value:.1f}% ({interval.percent()})"
    return f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _law_text(law: ScalingLaw, models: Sequence[Trained]) -> str:
    found = {one.title: one for one in models}
    text = (
        f"**{law.tower}, {FIGURES[law.figure]}**, fitted on the {law.n_fitted} smaller models: it goes with "
        f"compute to the power {law.law.exponent:.3f} ({law.exponent.low:.3f} to {law.exponent.high:.3f}), "
        f"R² {law.law.r2:.3f} on logarithms."
    )
    for one in law.predicted:
        value = found[one.title].value(law.figure)
        own = f"{100 * value:.1f}%" if law.figure.startswith("error") else f"{value:.3f}"
        text += (
            f" Predicted for {one.title}: {_value_text(law.figure, one.value, one.interval)}; found: {own}."
        )
    return text


def draw_scaling(models: Sequence[Trained], laws: Sequence[ScalingLaw], path: Path) -> None:
    """One point for each model, with its interval, and the law of each kind of tower."""
    figure = Figure(figsize=(8, 5), layout="constrained", dpi=110)
    axis = figure.subplots()
    names = {one.title for law in laws for one in law.predicted}
    for one in models:
        mean, interval = one.value(HEADLINE), one.figures[HEADLINE].interval()
        spread = [[max(0.0, 100 * (mean - interval.low))], [max(0.0, 100 * (interval.high - mean))]]
        colour = COLOURS[1] if one.title in names else COLOURS[0]
        axis.errorbar(one.flops, 100 * mean, yerr=spread, fmt="o", color=colour, ms=5, capsize=3)
        axis.annotate(
            one.title, (one.flops, 100 * mean), xytext=(6, 4), textcoords="offset points", fontsize=8
        )
    for law in laws:
        if law.figure == HEADLINE:
            own = [one.flops for one in models if one.tower == law.tower]
            axis.plot(
                [own[0], own[-1]], [100 * law.law(x) for x in (own[0], own[-1])], "--", color=COLOURS[0]
            )
    axis.set_xscale("log")
    axis.set_yscale("log")
    for of_axis in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        of_axis(FormatStrFormatter("%g"))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # more labels than these would overlap
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("training FLOPs")
    axis.set_ylabel(f"mean zero-shot {FIGURES[HEADLINE]} (%)")
    style_axis(axis)
    figure.savefig(path)
