"""Mean zero-shot error against training compute, for a series of models (figure 9 of the paper)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter
from numpy.typing import NDArray

from diptych_training.reports.markdown import markdown_table
from diptych_training.study.fits import (
    COLOURS,
    Floats,
    Interval,
    PowerLaw,
    of_mean,
    over_data_sets,
    power_law,
    style_axis,
)
from diptych_training.study.plan import Scaling
from diptych_training.study.results import Result

FIGURE = "study-scaling.png"
MIN_FITTED = 3  # models: any two points lie on a line


@dataclass(frozen=True)
class Trained:
    """One model of the series: compute, and (D,) zero-shot error by data set, mean of its seeds."""

    title: str
    flops: float
    images: int
    error: Floats
    n_seeds: int


def trained_models(part: Scaling, results: Sequence[Result]) -> list[Trained]:
    """The models that are measured, least compute first."""
    found = []
    for variant in part.variants:
        own = [one for one in results if one.variant == variant.name]
        if own:
            sets = sorted(name for name, figures in own[0].scores.items() if figures["single"])
            error = np.array([[1 - one.scores[s]["ensemble"] for s in sets] for one in own]).mean(axis=0)
            found.append(Trained(variant.title, own[0].flops or 0.0, own[0].images or 0, error, len(own)))
    return sorted(found, key=lambda one: one.flops)


@dataclass(frozen=True)
class ScalingLaw:
    """The law of the smaller models, and what it predicts for the largest ones."""

    law: PowerLaw
    exponent: Interval
    predicted: tuple[tuple[Trained, float, Interval], ...]  # the error by the law, and its interval


def scaling_law(models: Sequence[Trained], n_predicted: int) -> ScalingLaw | None:
    """None with too few models to fit."""
    fitted, rest = models[:-n_predicted], models[-n_predicted:]
    if len(fitted) < MIN_FITTED:
        return None
    n_sets = len(fitted[0].error)

    def law(drawn: NDArray[np.int64]) -> PowerLaw:
        return power_law([one.flops for one in fitted], [one.error[drawn].mean() for one in fitted])

    def predicted(one: Trained) -> tuple[Trained, float, Interval]:
        return one, everywhere(one.flops), over_data_sets(n_sets, lambda drawn: law(drawn)(one.flops))

    everywhere = law(np.arange(n_sets))
    exponent = over_data_sets(n_sets, lambda drawn: law(drawn).exponent)
    return ScalingLaw(everywhere, exponent, tuple(map(predicted, rest)))


def scaling_section(models: Sequence[Trained], law: ScalingLaw | None) -> str:
    """Figure, table, and the law."""
    header = ["model", "MFLOPs an image", "images", "TFLOPs in all", "mean error, %", "seeds"]
    rows = [
        [
            one.title, f"{one.flops / one.images / 1e6:,.0f}", f"{one.images:,}", f"{one.flops / 1e12:.3g}",
            f"{100 * one.error.mean():.1f} ({of_mean(one.error).percent()})", str(one.n_seeds),
        ]
        for one in models
    ]  # fmt: skip
    text = (
        f"Zero-shot error with the ensemble of prompts, the mean of {len(models[0].error)} data sets; "
        "intervals of 95% over data sets."
    )
    if law is not None:
        n_fitted, exponent = len(models) - len(law.predicted), law.exponent
        text += (
            f"\n\nFitted on the {n_fitted} smaller models: the error goes with compute to the power "
            f"{law.law.exponent:.3f} (95%: {exponent.low:.3f} to {exponent.high:.3f}), R² {law.law.r2:.3f} "
            "on logarithms."
        )
        for one, error, interval in law.predicted:
            text += (
                f" For {one.title} it predicts {100 * error:.1f}% ({interval.percent()}); found: "
                f"{100 * one.error.mean():.1f}%."
            )
    alt = "Mean zero-shot error against training compute"
    return f"![{alt}](figures/{FIGURE})\n\n{markdown_table(header, rows)}\n\n{text}"


def draw_scaling(models: Sequence[Trained], law: ScalingLaw | None, path: Path) -> None:
    """One point for each model, with its interval over data sets, and the law."""
    figure = Figure(figsize=(8, 5), layout="constrained", dpi=110)
    axis = figure.subplots()
    names = set() if law is None else {one.title for one, _, _ in law.predicted}
    for one in models:
        mean = one.error.mean()
        interval = of_mean(one.error)
        spread = [[100 * (mean - interval.low)], [100 * (interval.high - mean)]]
        colour = COLOURS[1] if one.title in names else COLOURS[0]
        axis.errorbar(one.flops, 100 * mean, yerr=spread, fmt="o", color=colour, ms=5, capsize=3)
        axis.annotate(
            one.title, (one.flops, 100 * mean), xytext=(6, 4), textcoords="offset points", fontsize=8
        )
    if law is not None:
        ends = [models[0].flops, models[-1].flops]
        axis.plot(ends, [100 * law.law(x) for x in ends], "--", color=COLOURS[0], lw=1.2)
    axis.set_xscale("log")
    axis.set_yscale("log")
    for of_axis in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        of_axis(FormatStrFormatter("%g"))
    axis.set_xlabel("training FLOPs")
    axis.set_ylabel("mean zero-shot error (%)")
    style_axis(axis)
    figure.savefig(path)
