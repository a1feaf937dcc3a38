"""Zero-shot error against training compute, for a series of models (figure 9 of the paper).

Each kind of image tower has a law of its own. Its interval holds what changes between data sets and pictures,
and what the law does not explain: the scatter of the models around it, seeds included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from diptych_training.reports.markdown import markdown_table
from diptych_training.schema import Frozen
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


class PredictedFigure(Frozen):
    """A figure that a law predicts for a larger model, and the interval of 95% for what is found on other
    data sets of these kinds.
    """

    model: str
    flops: float
    value: float
    low: float
    high: float


class Law(Frozen):
    """The law of a figure for one kind of image tower: `scale` times FLOPs to the power `exponent`."""

    tower: str
    figure: str
    scale: float
    exponent: float
    exponent_low: float
    exponent_high: float
    r2: float
    predicted: tuple[PredictedFigure, ...]


@dataclass(frozen=True)
class _Fit:
    """The line through the logarithms of a figure of some models, and what it does not explain."""

    models: Sequence[Trained]
    figure: str

    @cached_property
    def logs(self) -> Floats:
        """(M,) logarithms of FLOPs."""
        return np.asarray(np.log([one.flops for one in self.models]))

    @cached_property
    def law(self) -> PowerLaw:
        """Through the means."""
        return power_law(np.exp(self.logs), [one.value(self.figure) for one in self.models])

    @cached_property
    def scatter(self) -> float:
        """The deviation of logarithms: that of models around the law, or of seeds if it is larger."""
        return max(_residual(self.law, self.models, self.figure), _seed_scatter(self.models, self.figure))

    def exponents(self, draw: Redraw) -> Floats:
        """(R,) exponents."""
        return np.asarray(self._lines(draw)[0] + self._noise(draw) / np.sqrt(self._around))

    def predicted(self, flops: float, draw: Redraw) -> Floats:
        """(R,) figures of one more model."""
        exponent, at_0 = self._lines(draw)
        x = np.log(flops)
        width = np.sqrt(1 + 1 / len(self.models) + (x - self.logs.mean()) ** 2 / self._around)
        return np.asarray(np.exp(at_0 + exponent * x + width * self._noise(draw)))

    @property
    def _around(self) -> float:
        return float(np.square(self.logs - self.logs.mean()).sum())

    def _lines(self, draw: Redraw) -> tuple[Floats, Floats]:
        means = np.stack([one.figures[self.figure].redrawn(draw) for one in self.models], axis=-1)
        return line(self.logs, np.log(means))

    def _noise(self, draw: Redraw) -> Floats:
        return np.asarray(self.scatter * draw.rng.standard_t(len(self.models) - 2, size=len(draw.sets)))


def scaling_law(models: Sequence[Trained], figure: str, larger: Sequence[tuple[str, float]]) -> Law | None:
    """The law of models with the same kind of tower, for `larger` ones of which title and FLOPs are known.

    None with too few models to fit.
    """
    if len(models) < MIN_FITTED:
        return None
    fit, kinds = _Fit(models, figure), models[0].figures[figure].kinds
    exponent = over_data_sets(kinds, fit.exponents)
    predicted = [
        (title, flops, over_data_sets(kinds, partial(fit.predicted, flops))) for title, flops in larger
    ]
    return Law(
        tower=models[0].tower,
        figure=figure,
        scale=fit.law.scale,
        exponent=_rounded(fit.law.exponent),
        exponent_low=_rounded(exponent.low),
        exponent_high=_rounded(exponent.high),
        r2=_rounded(fit.law.r2),
        predicted=tuple(
            PredictedFigure(
                model=title,
                flops=flops,
                value=_rounded(fit.law(flops)),
                low=_rounded(interval.low),
                high=_rounded(interval.high),
            )
            for title, flops, interval in predicted
        ),
    )


def _rounded(value: float) -> float:
    return round(value, 6)


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


@dataclass(frozen=True)
class Found:
    """What was found for a model that a law predicted, and how far above the prediction that is.

    The interval of the difference draws the same data sets for both: it holds pictures, seeds and the scatter
    of models around the law, and of data sets only what moves the models of the series apart.
    """

    predicted: PredictedFigure
    value: float
    above: Interval

    @property
    def difference(self) -> float:
        """The value minus the predicted one."""
        return self.value - self.predicted.value


@dataclass(frozen=True)
class CheckedLaw:
    """A law that was written down, what was found afterwards, and the line through all models."""

    law: Law
    n_fitted: int
    found: tuple[Found, ...]
    of_all: PowerLaw | None


def check_laws(models: Sequence[Trained], laws: Sequence[Law]) -> list[CheckedLaw]:
    """Each law against the models of its kind of tower that are measured."""
    return [_checked(law, [one for one in models if one.tower == law.tower]) for law in laws]


def _checked(law: Law, models: Sequence[Trained]) -> CheckedLaw:
    predicted = {one.model: one for one in law.predicted}
    fitted = [one for one in models if one.title not in predicted]
    larger = [one for one in models if one.title in predicted]
    if len(fitted) < MIN_FITTED:
        return CheckedLaw(law, len(fitted), (), None)
    fit = _Fit(fitted, law.figure)

    def found(model: Trained) -> Found:
        own = model.figures[law.figure]
        above = over_data_sets(own.kinds, lambda draw: own.redrawn(draw) - fit.predicted(model.flops, draw))
        return Found(predicted[model.title], model.value(law.figure), above)

    of_all = _Fit(models, law.figure).law if larger else None
    return CheckedLaw(law, len(fitted), tuple(map(found, larger)), of_all)


def scaling_section(models: Sequence[Trained], laws: Sequence[CheckedLaw], prediction: str | None) -> str:
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
        "Intervals of 95%: data sets of each kind, pictures, and seeds where there are several, drawn again; "
        "those of laws hold the scatter of models around the law, too."
    )
    late = [one.title for one in models if one.prediction is not None and one.prediction != prediction]
    if late:
        text += f" **Measured by another prediction than the one that is stored: {', '.join(late)}.**"
    alt = "Mean zero-shot error against training compute"
    parts = [f"![{alt}](figures/{FIGURE})", markdown_table(header, rows), text]
    if any(checked.found for checked in laws):
        parts.append(_found_table(laws))
    return "\n\n".join([*parts, *map(_law_text, laws)])


def _value_text(figure: str, value: float, interval: Interval) -> str:
    return (
        f"{_in_unit(figure, value)} ({_in_unit(figure, interval.low, '')} to "
        f"{_in_unit(figure, interval.high, '')})"
    )


def _in_unit(figure: str, value: float, unit: str = "%", sign: str = "") -> str:
    """Errors in per cent, cross-entropy in nats."""
    return f"{100 * value:{sign}.1f}{unit}" if figure.startswith("error") else f"{value:{sign}.3f}"


def _found_table(laws: Sequence[CheckedLaw]) -> str:
    header = ["figure", "model", "predicted (other data sets)", "found", "above it (the same data sets)"]
    rows = [
        [
            FIGURES[checked.law.figure],
            one.predicted.model,
            _value_text(
                checked.law.figure, one.predicted.value, Interval(one.predicted.low, one.predicted.high)
            ),
            _in_unit(checked.law.figure, one.value),
            above_text(checked.law.figure, one),
        ]
        for checked in laws
        for one in checked.found
    ]
    return markdown_table(header, rows, n_words=2)


def above_text(figure: str, found: Found) -> str:
    """How far a figure is above what was predicted, with its interval."""
    values = (found.difference, found.above.low, found.above.high)
    middle, low, high = (_in_unit(figure, value, "", "+") for value in values)
    return f"{middle} ({low} to {high})"


def _law_text(checked: CheckedLaw) -> str:
    law = checked.law
    text = (
        f"**{law.tower}, {FIGURES[law.figure]}**, fitted on the {checked.n_fitted} smaller models: it goes "
        f"with compute to the power {law.exponent:.3f} ({law.exponent_low:.3f} to {law.exponent_high:.3f}), "
        f"R² {law.r2:.3f} on logarithms."
    )
    if checked.of_all is not None:
        text += f" The line through all models: {checked.of_all.exponent:.3f}, R² {checked.of_all.r2:.3f}."
    return text


def draw_scaling(models: Sequence[Trained], laws: Sequence[Law], path: Path) -> None:
    """One point for each model, with its interval, and the law of each kind of tower."""
    figure = Figure(figsize=(8, 5), layout="constrained", dpi=110)
    axis = figure.subplots()
    names = {one.model for law in laws for one in law.predicted}
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
            ends = np.array([own[0], own[-1]])
            axis.plot(ends, 100 * law.scale * ends**law.exponent, "--", color=COLOURS[0])
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
