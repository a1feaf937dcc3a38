"""Static softmax against language: accuracy on names that the softmax knows, and on others."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from diptych_training.evaluate.table import markdown_table
from diptych_training.study.cells.plan import Labels
from diptych_training.study.cells.result import Result

FIGURES = ("known", "known_of_all", "unknown")


@dataclass(frozen=True)
class Transferred:
    """One model: the mean over data sets of each figure, and how many pictures have known names."""

    variant: str
    title: str
    means: dict[str, float]
    n_known: int
    n_unknown: int
    n_seeds: int


def transferred(part: Labels, results: Sequence[Result]) -> list[Transferred]:
    """The models that are measured, in the order of the plan."""
    found = []
    for variant in part.variants:
        own = [one for one in results if one.variant == variant.name]
        if own:
            means = {
                figure: fmean(
                    scores[figure] for one in own for scores in one.scores.values() if figure in scores
                )
                for figure in FIGURES
            }
            n_known, n_unknown = (
                int(sum(scores[n] for scores in own[0].scores.values())) for n in ("n_known", "n_unknown")
            )
            found.append(Transferred(variant.name, variant.title, means, n_known, n_unknown, len(own)))
    return found


def labels_section(models: Sequence[Transferred]) -> str:
    """The table."""
    first = models[0]
    header = [
        "model",
        "known names, among known",
        "known names, among all",
        "unknown names, among all",
        "seeds",
    ]
    rows = [
        [one.title, *(f"{100 * one.means[figure]:.1f}" for figure in FIGURES), str(one.n_seeds)]
        for one in models
    ]
    share = first.n_known / (first.n_known + first.n_unknown)
    return (
        f"Top-1 in points, the mean over data sets, each on its own names. The softmax has a label for "
        f"{first.n_known:,} of {first.n_known + first.n_unknown:,} pictures ({share:.0%}); it can never "
        f"answer a name that it lacks.\n\n{markdown_table(header, rows)}"
    )
