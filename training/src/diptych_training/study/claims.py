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
HEADER = ["claim of the paper", "there", "found here", "agrees", "why it may differ"]
Finding = tuple[str, str]  # what was found, and whether it agrees
NOTHING: Finding = (NOT_YET, "–")
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
            *_factor(learners, CAPTIONING, WORDS), OBJECTIVES_DIFFER,
        ],
        [
            "Contrasting takes fewer images than predicting a bag of words (figure 2)", "4x",
            *_factor(learners, WORDS, CONTRASTIVE),
            "batches of 256, not 32,768; else as above",
        ],
        [
            "Zero-shot error is a power law of compute (figure 9)", "a line over 44x compute", *_law(laws),
            "much less compute; one rule for the rates of all widths",
        ],
        [
            "Prompts and their ensemble help (figure 4, section 3.1.4)", "+5 points", *_gain(prompted),
            "`everyday` was taught templates, and that they mean the name alone; there, a name alone is rare",
        ],
        [
            "Zero-shot equals a probe on a few examples a class (figure 6)", "4", *_shots(prompted),
            "the probe learns from other styles than it is tested on",
        ],
        [
            "A static softmax cannot transfer without examples to names that it never saw (section 1)",
            "no figure", *_unknown(softmax), "by construction",
        ],
    ]  # fmt: skip
    return markdown_table(HEADER, rows, n_words=len(HEADER))


def _agrees(found: bool) -> str:
    return "yes" if found else "no"


def _factor(learners: Sequence[Learner], slow: str, fast: str) -> Finding:
    first, second = named(learners, slow), named(learners, fast)
    if first is None or second is None:
        return NOTHING
    found = factor_of(first, second)
    is_open = found.interval.low <= 1 <= found.interval.high
    return str(found), "unclear" if is_open else _agrees(found.interval.low > 1)


def _law(laws: Sequence[CheckedLaw]) -> Finding:
    shown = [one for one in laws if one.law.figure == HEADLINE]
    if not shown:
        return NOTHING
    found = [one for law in shown for one in law.found]
    is_off = any(one.above.low > 0 or one.above.high < 0 for one in found)
    return "; ".join(map(_law_text, shown)), "–" if not found else "in part" if is_off else "yes"


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


def _gain(prompted: Sequence[Prompted]) -> Finding:
    if not prompted:
        return NOTHING
    agrees = _agrees(all(one.gain_interval.low > 0 for one in prompted))
    if len(prompted) == 1:
        (only,) = prompted
        gain = f"{100 * only.gain:+.1f} points ({only.gain_interval.percent('+')}), {only.title} alone"
        return gain, agrees
    gains = sorted(100 * one.gain for one in prompted)
    middle = f"{median(gains):+.1f} points, the median of {len(gains)} models"
    return f"{middle} ({gains[0]:+.1f} to {gains[-1]:+.1f})", agrees


def _shots(prompted: Sequence[Prompted]) -> Finding:
    """It agrees if one example a class is never enough."""
    probes: dict[str, list[str]] = {}  # by the number of examples
    are_more = []
    for one in prompted:
        for pool, of_pool in one.pools.items():
            if of_pool.curve:
                text = equal_text(of_pool.zero_shot, of_pool.curve)
                probes.setdefault(text, []).append(f"{one.title} on {pool}")
                are_more.append(of_pool.curve[0][1] < of_pool.zero_shot)
    found = [
        f"{text} ({', '.join(names) if len(names) <= MAX_NAMED else f'{len(names)} probes'})"
        for text, names in probes.items()
    ]
    return ("; ".join(found), _agrees(all(are_more))) if found else NOTHING


def _unknown(softmax: Sequence[Transferred]) -> Finding:
    found = {one.title: one for one in softmax if "unknown" in one.means}  # the longest
    if not found:
        return NOTHING
    by_title = ", ".join(
        f"{title} {100 * one.means['unknown']:.1f}"
        + (f" ({100 * one.means['unseen']:.1f} if no label in training)" if "unseen" in one.means else "")
        for title, one in found.items()
    )
    of_labels, of_language = (
        [one.means["unknown"] for one in found.values() if one.is_of_labels is is_of_labels]
        for is_of_labels in (True, False)
    )
    agrees = _agrees(max(of_labels) < min(of_language)) if of_labels and of_language else "–"
    return f"top-1 on names unknown to the softmax: {by_title}", agrees
