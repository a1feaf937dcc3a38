"""The claims of the paper, each with what was found and why it may differ."""

from collections.abc import Sequence
from statistics import median

from diptych_training.reports.markdown import markdown_table
from diptych_training.study.efficiency import CAPTIONING, CONTRASTIVE, WORDS, Learner, factor_of, named
from diptych_training.study.labels import Transferred
from diptych_training.study.prompts import Prompted, equal_text
from diptych_training.study.scaling import HEADLINE, CheckedLaw, above_text

NOT_YET = "not run yet"
MAX_NAMED = 2  # probes with the same result
HEADER = ["claim of the paper", "there", "found here", "why it may differ"]
OBJECTIVES_DIFFER = "captions are names, not sentences; small towers, short runs, one learning rate for all"


def claims_table(
    learners: Sequence[Learner],
    laws: Sequence[CheckedLaw],
    prompted: Sequence[Prompted],
    softmax: Sequence[Transferred],
) -> str:
    """One row for each claim."""
    rows = [
        [
            "Predicting a bag of words takes fewer images than predicting the caption (figure 2)", "3x",
            _factor(learners, CAPTIONING, WORDS), OBJECTIVES_DIFFER,
        ],
        [
            "Contrasting takes fewer images than predicting a bag of words (figure 2)", "4x",
            _factor(learners, WORDS, CONTRASTIVE),
            "batches of 256, not 32,768; else as above",
        ],
        [
            "Zero-shot error is a power law of compute (figure 9)", "a line over 44x compute", _law(laws),
            "much less compute; one rule for the rates of all widths",
        ],
        [
            "Prompts and their ensemble help (figure 4, section 3.1.4)", "+5 points", _gain(prompted),
            "`everyday` was taught templates, and that they mean the name alone; there, a name alone is rare",
        ],
        [
            "Zero-shot equals a probe on a few examples a class (figure 6)", "4", _shots(prompted),
            "the probe learns from other styles than it is tested on",
        ],
        [
            "A static softmax cannot transfer without examples to names that it never saw (section 1)",
            "no figure", _unknown(softmax), "by construction",
        ],
    ]  # fmt: skip
    return markdown_table(HEADER, rows, n_words=len(HEADER))


def _factor(learners: Sequence[Learner], slow: str, fast: str) -> str:
    first, second = named(learners, slow), named(learners, fast)
    return NOT_YET if first is None or second is None else str(factor_of(first, second))


def _law(laws: Sequence[CheckedLaw]) -> str:
    return "; ".join(_law_text(one) for one in laws if one.law.figure == HEADLINE) or NOT_YET


def _law_text(checked: CheckedLaw) -> str:
    law = checked.law
    above = "; ".join(
        f"{one.predicted.model} is {above_text(law.figure, one)} points above it" for one in checked.found
    )
    line = (
        f"{law.tower}: exponent {law.exponent:.3f} ({law.exponent_low:.3f} to {law.exponent_high:.3f}), "
        f"R² {law.r2:.3f} of {checked.n_fitted} models"
    )
    return f"{line}; {above}" if above else line


def _gain(prompted: Sequence[Prompted]) -> str:
    if not prompted:
        return NOT_YET
    if len(prompted) == 1:
        (only,) = prompted
        return f"{100 * only.gain:+.1f} points ({only.gain_interval.percent('+')}), {only.title} alone"
    gains = sorted(100 * one.gain for one in prompted)
    middle = f"{median(gains):+.1f} points, the median of {len(gains)} models"
    return f"{middle} ({gains[0]:+.1f} to {gains[-1]:+.1f})"


def _shots(prompted: Sequence[Prompted]) -> str:
    probes: dict[str, list[str]] = {}  # by the number of examples
    for one in prompted:
        for pool, of_pool in one.pools.items():
            if of_pool.curve:
                text = equal_text(of_pool.zero_shot, of_pool.curve)
                probes.setdefault(text, []).append(f"{one.title} on {pool}")
    found = [
        f"{text} ({', '.join(names) if len(names) <= MAX_NAMED else f'{len(names)} probes'})"
        for text, names in probes.items()
    ]
    return "; ".join(found) or NOT_YET


def _unknown(softmax: Sequence[Transferred]) -> str:
    found = {one.title: one for one in softmax if "unknown" in one.means}  # the longest
    named = ", ".join(
        f"{title} {100 * one.means['unknown']:.1f}"
        + (
            f" ({100 * one.means['unseen']:.1f} on names in no training label)"
            if "unseen" in one.means
            else ""
        )
        for title, one in found.items()
    )
    return f"top-1 on names unknown to the softmax: {named}" if found else NOT_YET
