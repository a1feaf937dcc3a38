"""Measure the gain of prompts, and how many examples zero-shot is worth (figures 4, 6 and 7 of the paper)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from diptych_training.evaluate.benchmark.summary import Curve, equal_shots, shots_text
from diptych_training.reports.markdown import markdown_table
from diptych_training.study.fits import COLOURS, Floats, Interval, Measured, style_axis
from diptych_training.study.results import Result, Scores

FIGURE = "study-prompts.png"
PROMPTS = ("name", "one_template", "ensemble")
SHOTS = "shots_"


@dataclass(frozen=True)
class Pooled:
    """Zero-shot on the n pictures of a pooled data set, a probe on all examples, and few-shot probes."""

    zero_shot: float
    probe: float
    curve: Curve
    n: int


Pools = dict[str, Pooled]  # by the name of the data set


@dataclass(frozen=True)
class Prompted:
    """One model: (3, D) zero-shot by prompts, and for each pool zero-shot, all examples, and the few-shot
    curve.
    """

    title: str
    top1: Floats
    n: Floats  # (D,) pictures
    kinds: tuple[str, ...]  # (D,) of the data sets
    pools: Pools

    @property
    def gain(self) -> float:
        """The gain of the ensemble over the name alone."""
        return float((self.top1[2] - self.top1[0]).mean())

    @property
    def gain_interval(self) -> Interval:
        """Over data sets."""
        errors = np.sqrt((self.top1 * (1 - self.top1)).sum(axis=0) / self.n)  # as if drawn independently
        gains = self.top1[2] - self.top1[0]
        return Measured(gains[None], errors[None], self.kinds).interval()


def prompted_models(results: Sequence[Result]) -> list[Prompted]:
    """All bundles that `benchmark` measured."""
    found: dict[str, Prompted] = {}
    for one in results:
        single = sorted(one.kinds)
        top1 = np.array([[one.scores[name][prompts] for name in single] for prompts in PROMPTS])
        n, kinds = (
            np.array([one.scores[name]["n"] for name in single]),
            tuple(map(one.kinds.__getitem__, single)),
        )
        found.setdefault(one.variant, Prompted(one.variant, top1, n, kinds, pools_of(one.scores)))
    return list(found.values())


def pools_of(scores: Scores, prompts: str = "ensemble") -> Pools:
    """The pooled data sets, which have examples to learn from, and zero-shot with these prompts."""
    return {
        name: Pooled(figures[prompts], figures["probe"], _curve(figures), int(figures["n"]))
        for name, figures in scores.items()
        if "probe" in figures
    }


def _curve(figures: dict[str, float]) -> Curve:
    shots = sorted(int(key.removeprefix(SHOTS)) for key in figures if key.startswith(SHOTS))
    return [(k, figures[f"{SHOTS}{k}"]) for k in shots]


def prompts_section(models: Sequence[Prompted]) -> str:
    """Tables of prompts and of probes."""
    rows = [
        [
            one.title, *(f"{100 * row.mean():.1f}" for row in one.top1),
            f"{100 * one.gain:+.1f} ({one.gain_interval.percent('+')})",
            f"{int((one.top1[2] > one.top1[0]).sum())} of {one.top1.shape[1]}",
        ]
        for one in models
    ]  # fmt: skip
    header = ["model", "name alone", "one template", "ensemble", "gain of the ensemble", "better on"]
    prompts = markdown_table(header, rows)
    probes = probes_table({one.title: one.pools for one in models}, "the ensemble")
    return (
        f"![Gain of the ensemble of prompts, by data set](figures/{FIGURE})\n\n"
        f"Zero-shot top-1 in points, the mean of {models[0].top1.shape[1]} data sets; intervals of 95%: data "
        f"sets of each kind and pictures drawn again.\n\n{prompts}\n\n{probes}"
    )


def probes_table(pools: Mapping[str, Pools], prompts: str) -> str:
    """Few-shot probes next to zero-shot with these prompts, by the title of the model."""
    shots = sorted({k for own in pools.values() for one in own.values() for k, _ in one.curve})
    rows = [
        [
            title, pool, str(one.n), f"{100 * one.zero_shot:.1f}",
            *(f"{100 * found[k]:.1f}" if k in (found := dict(one.curve)) else "–" for k in shots),
            f"{100 * one.probe:.1f}", equal_text(one.zero_shot, one.curve),
        ]
        for title, own in pools.items()
        for pool, one in own.items()
    ]  # fmt: skip
    header = [
        "model", "pool", "pictures", "zero-shot", *(f"{k} a class" for k in shots), "all examples",
        "equal to zero-shot",
    ]  # fmt: skip
    table = markdown_table(header, rows, n_words=2)
    return f"Linear probes on pooled labels, and zero-shot by {prompts}:\n\n{table}"


def equal_text(zero_shot: float, curve: Curve) -> str:
    """With how many examples a class a probe equals zero-shot, in words; a dash without a curve."""
    return shots_text(equal_shots(zero_shot, curve), curve[-1][0] if curve else None)


def draw_prompts(models: Sequence[Prompted], path: Path) -> None:
    """The gain of every data set as a dot, a column for each model."""
    figure = Figure(figsize=(8, 4), layout="constrained", dpi=110)
    axis = figure.subplots()
    for number, one in enumerate(models):
        gains = 100 * (one.top1[2] - one.top1[0])
        axis.plot(np.full(len(gains), number), gains, "o", color=COLOURS[0], alpha=0.4, ms=4)
        axis.plot([number - 0.25, number + 0.25], [gains.mean()] * 2, color=COLOURS[1], lw=2)
    axis.axhline(0, color="#333333", lw=0.7)
    axis.set_xticks(range(len(models)), [one.title for one in models], rotation=20, ha="right")
    axis.set_ylabel("gain of the ensemble (points)")
    style_axis(axis)
    figure.savefig(path)
