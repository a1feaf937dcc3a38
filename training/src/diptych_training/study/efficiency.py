"""Zero-shot accuracy against images processed, by objective (figure 2 of the paper)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diptych_training.evaluate.benchmark.summary import Curve
from diptych_training.reports.markdown import markdown_table
from diptych_training.study.fits import (
    COLOURS,
    INK,
    Floats,
    Interval,
    factor,
    of_mean,
    over_data_sets,
    style_axis,
)
from diptych_training.study.plan import Efficiency
from diptych_training.study.results import Result

FIGURE = "study-efficiency.png"
CAPTIONING, WORDS, CONTRASTIVE = "virtex", "bag-of-words", "clip"  # the variants that the paper compares


@dataclass(frozen=True)
class Learner:
    """One objective: (P,) images at its checkpoints, (P, D) top-1 by data set, mean of its seeds."""

    name: str
    title: str
    images: tuple[int, ...]
    top1: Floats
    n_seeds: int

    def curve(self, drawn: NDArray[np.int64] | None = None) -> Curve:
        """Images and the mean over data sets, all or those drawn."""
        top1 = self.top1 if drawn is None else self.top1[:, drawn]
        return list(zip(self.images, top1.mean(axis=1).tolist(), strict=True))

    @property
    def final(self) -> float:
        """The mean over data sets at the last checkpoint."""
        return float(self.top1[-1].mean())


def learners(part: Efficiency, results: Sequence[Result]) -> list[Learner]:
    """The objectives of which every checkpoint is there, in the order of the plan."""
    found = []
    for variant in part.variants:
        own = [one for one in results if one.variant == variant.name and one.images is not None]
        complete = [
            sorted((one for one in own if one.seed == seed), key=lambda one: one.images or 0)
            for seed in part.seeds
        ]
        complete = [runs for runs in complete if len(runs) == len(part.checkpoints)]
        if complete:
            sets = sorted(complete[0][0].scores)
            top1 = np.array([[[one.scores[s]["top1"] for s in sets] for one in runs] for runs in complete])
            images = tuple(int(one.images or 0) for one in complete[0])
            found.append(Learner(variant.name, variant.title, images, top1.mean(axis=0), len(complete)))
    return found


@dataclass(frozen=True)
class Factor:
    """How many times fewer images one objective needs than another for what that one ends at.

    `is_more`: its first checkpoint is there already.
    """

    value: float
    interval: Interval
    is_more: bool

    def __str__(self) -> str:
        if not self.interval.high:
            return times(0)
        more = "more than " if self.is_more else ""
        return f"{more}{times(self.value)} ({times(self.interval.low)} to {times(self.interval.high)})"


def factor_of(slow: Learner, fast: Learner) -> Factor:
    """With its interval over data sets, the same ones drawn for both."""
    return Factor(
        factor(slow.curve(), fast.curve()),
        over_data_sets(slow.top1.shape[1], lambda drawn: factor(slow.curve(drawn), fast.curve(drawn))),
        fast.curve()[0][1] > slow.final,
    )


def times(value: float) -> str:
    """A factor in words."""
    return "never" if value == 0 else f"{value:.1f}x"


def named(found: Sequence[Learner], name: str) -> Learner | None:
    """The learner of that name, if it is finished."""
    return next((one for one in found if one.name == name), None)


def efficiency_section(part: Efficiency, found: Sequence[Learner]) -> str:
    """Figure and table."""
    first = found[0]
    header = ["objective", *(f"{n:,} images" for n in first.images), "95% interval"]
    against = [one for name in (CAPTIONING, WORDS) if (one := named(found, name)) is not None]
    header += [f"fewer images than {one.title}" for one in against]
    rows = [
        [
            one.title,
            *(f"{100 * value:.1f}" for _, value in one.curve()),
            of_mean(one.top1[-1]).percent(),
            *("1" if slow is one else str(factor_of(slow, one)) for slow in against),
        ]
        for one in sorted(found, key=lambda one: -one.final)
    ]
    n_sets = first.top1.shape[1]
    seeds = ", ".join(f"{one.title} {one.n_seeds}" for one in found if one.n_seeds != first.n_seeds)
    note = (
        f"Top-1 in points, the mean of {n_sets} data sets: on each, up to {part.pictures} pictures are to be "
        f"found among up to {part.names} names; guessing gives about {100 / part.names:.1f} (dashed). "
        f"Seeds: {first.n_seeds}{'; ' + seeds if seeds else ''}. The "
        "last columns say how many times fewer images an objective needs for the accuracy that the other one "
        "ends at, interpolated between checkpoints on a logarithmic scale; below 1, it needs more. Intervals "
        "of 95%: data sets drawn again."
    )
    names = {one.name for one in found}
    missing = [variant.title for variant in part.variants if variant.name not in names]
    if missing:
        note += f"\n\nNot finished yet: {', '.join(missing)}."
    return (
        f"![Zero-shot accuracy against images processed, one line for each objective](figures/{FIGURE})\n\n"
        f"{markdown_table(header, rows)}\n\n{note}"
    )


def draw_efficiency(part: Efficiency, found: Sequence[Learner], path: Path) -> None:
    """One line for each objective, best last value first; the band is the interval over data sets."""
    figure = Figure(figsize=(8, 5), layout="constrained", dpi=110)
    axis = figure.subplots()
    for number, one in enumerate(sorted(found, key=lambda one: -one.final)):
        colour = COLOURS[number % len(COLOURS)]
        means = [100 * value for _, value in one.curve()]
        axis.plot(one.images, means, "o-", color=colour, ms=4, lw=1.8, label=one.title)
        bands = [of_mean(row) for row in one.top1]
        low, high = ([100 * getattr(band, side) for band in bands] for side in ("low", "high"))
        axis.fill_between(one.images, low, high, color=colour, alpha=0.08, lw=0)
    axis.axhline(100 / part.names, color=INK, ls="--", lw=0.8)
    axis.set_xscale("log", base=2)
    axis.set_xticks(found[0].images, [f"{n:,}" for n in found[0].images])
    axis.set_xlabel("images processed")
    axis.set_ylabel(f"zero-shot top-1, mean of {found[0].top1.shape[1]} data sets (%)")
    axis.set_ylim(bottom=0)
    style_axis(axis)
    axis.legend(frameon=False, fontsize=9)
    figure.savefig(path)
