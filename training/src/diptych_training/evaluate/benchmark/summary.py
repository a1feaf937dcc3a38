"""The figures that sum up a benchmark: means, gains of prompts, and what zero-shot is worth in examples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from diptych_training.evaluate.benchmark.results import Prompts, Result

GROUPS = {
    "emoji": "Emoji styles", "icons": "Icon sets", "pairs": "Image-text pairs", "pooled": "Pooled labels",
    "digits": "Digits", "folder": "Folders", "paper": "Data sets of the paper",
}  # fmt: skip
Curve = Sequence[tuple[float, float]]  # images (or examples) and what they give, fewest first
PROMPTS: tuple[Prompts, ...] = ("name", "one_template", "ensemble")


@dataclass(frozen=True)
class Summary:
    """One model over all data sets that are classified; shares from 0 to 1.

    `probe_gain` is the mean of probe minus zero-shot where there is a probe. `shots` is the median number of
    examples a class with which a probe equals zero-shot.
    """

    model: str
    n: int
    means: Mapping[Prompts, float]
    n_better: int
    n_worse: int
    n_probes: int
    probe_gain: float | None
    shots: float | None


def group_title(group: str) -> str:
    """The heading of a group of data sets."""
    return GROUPS.get(group, group)


def of_models(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Model -> its results, in the order of measurement."""
    models = dict.fromkeys(result.model for result in results)
    return {model: [result for result in results if result.model == model] for model in models}


def mean_score(results: Sequence[Result], prompts: Prompts = "ensemble") -> float:
    """The mean over data sets of each one's own metric."""
    return fmean(score for result in results if (score := result.score(prompts)) is not None)


def summary(results: Sequence[Result]) -> Summary | None:
    """The summary of one model; None if it classified nothing."""
    scored = [result for result in results if result.zero_shot]
    if not scored:
        return None
    gains = [
        result.zero_shot["ensemble"][result.metric] - result.zero_shot["name"][result.metric]
        for result in scored
    ]
    probed = [
        result.probe.metrics[result.metric] - result.zero_shot["ensemble"][result.metric]
        for result in scored
        if result.probe is not None
    ]
    shots = [found for result in scored if (found := equal_shots(result.score(), curve(result))) is not None]
    return Summary(
        model=scored[0].model,
        n=len(scored),
        means={prompts: mean_score(scored, prompts) for prompts in PROMPTS},
        n_better=sum(gain > 0 for gain in gains),
        n_worse=sum(gain < 0 for gain in gains),
        n_probes=len(probed),
        probe_gain=fmean(probed) if probed else None,
        shots=median(shots) if shots else None,
    )


def curve(result: Result) -> list[tuple[int, float]]:
    """Examples a class and the mean score over seeds, fewest first."""
    shots = sorted({one.shots for one in result.few_shot})
    return [(k, fmean(one.score for one in result.few_shot if one.shots == k)) for k in shots]


def equal_shots(zero_shot: float | None, curve: Curve) -> float | None:
    """Examples a class with which a probe equals zero-shot, as in figure 7 of the paper.

    0 if one example is better already, infinity if even the most are worse; None without a curve.
    """
    if not curve or zero_shot is None:
        return None
    return 0.0 if curve[0][1] >= zero_shot else to_reach(curve, zero_shot)


def to_reach(curve: Curve, level: float) -> float:
    """With how many images (or examples) a curve first reaches a level, interpolated on a logarithmic scale.

    The first point's number if that is there already, infinity if no point is.
    """
    (first, start), *_ = curve
    if start >= level:
        return first
    for (few, low), (many, high) in pairwise(curve):
        if low < level <= high:
            share = (level - low) / (high - low)
            return math.exp(math.log(few) + share * (math.log(many) - math.log(few)))
    return math.inf


def shots_text(shots: float | None, most: float | None = None) -> str:
    """Examples in words."""
    if shots is None:
        return "–"
    if shots == 0:
        return "less than one"
    if math.isinf(shots):
        return "more" if most is None else f"more than {most}"
    return f"{shots:.1f}"
