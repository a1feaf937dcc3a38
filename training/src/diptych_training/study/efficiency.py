"""Zero-shot accuracy against images processed, by objective (figure 2 of the paper)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure

from diptych_training.evaluate.benchmark.summary import Curve
from diptych_training.reports.markdown import markdown_table
from diptych_training.study.fits import (
    COLOURS,
    INK,
    Floats,
    Interval,
    Measured,
    Redraw,
    factor,
    of_shares,
    over_data_sets,
    style_axis,
)
from diptych_training.study.name_scores import RAW
from diptych_training.study.plan import Efficiency, Variant
from diptych_training.study.results import Result

FIGURE = "study-efficiency.png"
CAPTIONING, WORDS, CONTRASTIVE = "virtex", "bag-of-words", "clip"  # the variants that the paper compares


RULES = ("top1", f"top1{RAW}")


@dataclass(frozen=True)
class Learner:
    """One objective: top-1 at each of its P horizons, by data set; the raw rule and probes at the last one.

    `version` names the objective with the version of its code; FLOPs are of an image.
    """

    name: str
    title: str
    images: tuple[int, ...]
    top1: Measured  # (S, P, D)
    raw: float | None
    probes: dict[str, float]
    version: str
    flops: float

    @property
    def n_seeds(self) -> int:
        """The number of seeds that are finished."""
        return len(self.top1.values)

    def curve(self) -> Curve:
        """Images and the mean over data sets."""
        return self._of(self.top1.mean())

    def curves(self, draw: Redraw) -> list[Curve]:
        """The same for the data sets of each draw."""
        return [self._of(means) for means in self.top1.redrawn(draw)]

    def _of(self, means: Floats) -> Curve:
        return list(zip(self.images, means.tolist(), strict=True))

    @property
    def final(self) -> float:
        """The mean over data sets at the last horizon."""
        return float(self.top1.mean()[-1])


def learners(part: Efficiency, results: Sequence[Result]) -> list[Learner]:
    """The objectives of which every horizon is there, in the order of the plan."""
    found = []
    for variant in part.variants:
        own = [one for one in results if one.variant == variant.name and one.images is not None]
        seeds = part.seeds if variant.seeds is None else variant.seeds
        by_seed = [
            sorted((one for one in own if one.seed == seed), key=lambda one: one.images or 0)
            for seed in seeds
        ]
        complete = [runs for runs in by_seed if len(runs) == len(part.horizons)]
        if complete:
            found.append(_learner(variant, complete))
    return found


def _learner(variant: Variant, complete: Sequence[Sequence[Result]]) -> Learner:
    last = complete[0][-1]
    sets = sorted(last.kinds)

    def column(key: str) -> Floats:
        return np.array([[[one.scores[s][key] for s in sets] for one in runs] for runs in complete])

    has_raw = RULES[1] in last.scores[sets[0]]
    return Learner(
        variant.name,
        variant.title,
        tuple(int(one.images or 0) for one in complete[0]),
        of_shares(column("top1"), column("n"), [last.kinds[name] for name in sets]),
        float(column(RULES[1])[:, -1].mean()) if has_raw else None,
        {
            pool: fmean(runs[-1].scores[pool]["probe"] for runs in complete)
            for pool, figures in last.scores.items()
            if "probe" in figures
        },
        last.objective or "",
        (last.flops or 0.0) / (last.images or 1),
    )


@dataclass(frozen=True)
class Factor:
    """How many times fewer images one objective needs than another for what that one ends at.

    `is_least`: its first horizon is there already, so that the factor may be larger.
    """

    value: float
    interval: Interval
    is_least: bool

    def __str__(self) -> str:
        if not self.interval.high:
            return times(0)
        if self.is_least:
            return f">= {times(self.value)} (from {times(self.interval.low)})"
        return f"{times(self.value)} ({times(self.interval.low)} to {times(self.interval.high)})"


def factor_of(slow: Learner, fast: Learner) -> Factor:
    """With its interval, the same data sets drawn for both."""
    return Factor(
        factor(slow.curve(), fast.curve()),
        over_data_sets(slow.top1.kinds, lambda draw: list(map(factor, slow.curves(draw), fast.curves(draw)))),
        fast.curve()[0][1] >= slow.final,
    )


def times(value: float) -> str:
    """A factor in words."""
    return "never" if value == 0 else f"{value:.1f}x"


def named(found: Sequence[Learner], name: str) -> Learner | None:
    """The learner of that name, if it is finished."""
    return next((one for one in found if one.name == name), None)


def efficiency_section(part: Efficiency, found: Sequence[Learner]) -> str:
    """Figure and tables."""
    first, ordered = found[0], sorted(found, key=lambda one: -one.final)
    header = ["objective", *(f"{n:,} images" for n in first.images), "95% interval"]
    against = [one for name in (CAPTIONING, WORDS) if (one := named(found, name)) is not None]
    header += [f"fewer images than {one.title}" for one in against]
    rows = [
        [
            one.title,
            *(f"{100 * value:.1f}" for _, value in one.curve()),
            one.top1.at(-1).interval().percent(),
            *("1" if slow is one else str(factor_of(slow, one)) for slow in against),
        ]
        for one in ordered
    ]
    note = (
        f"Top-1 in points, the mean of {len(first.top1.kinds)} data sets: on each, up to {part.pictures} "
        f"pictures are to be found among up to {part.names} names; guessing gives about "
        f"{100 / part.names:.1f} (dashed). Each number of images is a run of its own. The last columns say "
        "how many times fewer images an objective needs for the accuracy that the other one ends at, "
        "interpolated between runs on a logarithmic scale; below 1, it needs more. Intervals of 95%: data "
        "sets of each kind, pictures, and seeds where there are two, drawn again. FLOPs are those of "
        "training, forward and backward, with captions as long as they are computed."
    )
    names = {one.name for one in found}
    missing = [variant.title for variant in part.variants if variant.name not in names]
    if missing:
        note += f"\n\nNot finished yet: {', '.join(missing)}."
    return "\n\n".join(
        [
            f"![Zero-shot accuracy against images processed, one line for each objective](figures/{FIGURE})",
            markdown_table(header, rows),
            note,
            _rules_table(ordered),
        ]
    )


def _rules_table(found: Sequence[Learner]) -> str:
    """Both rules of scoring and probes of the longest runs, and what they are of."""
    pools = list(found[0].probes)
    header = [
        "after the longest run", "relative to training pictures", "raw log-probability",
        *(f"probe, {pool}" for pool in pools), "seeds", "version", "training MFLOPs an image",
    ]  # fmt: skip
    rows = [
        [
            one.title,
            f"{100 * one.final:.1f}",
            "–" if one.raw is None else f"{100 * one.raw:.1f}",
            *(f"{100 * one.probes[pool]:.1f}" for pool in pools),
            str(one.n_seeds),
            one.version,
            f"{one.flops / 1e6:.1f}",
        ]
        for one in found
    ]
    return markdown_table(header, rows)


def draw_efficiency(part: Efficiency, found: Sequence[Learner], path: Path) -> None:
    """One line for each objective, best last value first; the band is the interval over data sets."""
    figure = Figure(figsize=(8, 5), layout="constrained", dpi=110)
    axis = figure.subplots()
    for number, one in enumerate(sorted(found, key=lambda one: -one.final)):
        colour = COLOURS[number % len(COLOURS)]
        means = [100 * value for _, value in one.curve()]
        axis.plot(one.images, means, "o-", color=colour, ms=4, lw=1.8, label=one.title)
        bands = [one.top1.at(place).interval() for place in range(len(one.images))]
        low, high = ([100 * getattr(band, side) for band in bands] for side in ("low", "high"))
        axis.fill_between(one.images, low, high, color=colour, alpha=0.08, lw=0)
    axis.axhline(100 / part.names, color=INK, ls="--", lw=0.8)
    axis.set_xscale("log", base=2)
    axis.set_xticks(found[0].images, [f"{n:,}" for n in found[0].images])
    axis.set_xlabel("images processed")
    axis.set_ylabel(f"zero-shot top-1, mean of {len(found[0].top1.kinds)} data sets (%)")
    axis.set_ylim(bottom=0)
    style_axis(axis)
    axis.legend(frameon=False, fontsize=9)
    figure.savefig(path)
