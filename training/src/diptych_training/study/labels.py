"""Static softmax against language: accuracy on names that the softmax knows, and on others."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from diptych_training.reports.markdown import markdown_table
from diptych_training.study.name_scores import RAW
from diptych_training.study.plan import Labels
from diptych_training.study.prompts import Pools, pools_of, probes_table
from diptych_training.study.results import Result

FIGURES = ("known", "known_of_all", "unknown")
RULES = {"": "", RAW: ", raw log-probability"}  # what ends the names of figures, and titles


@dataclass(frozen=True)
class Transferred:
    """One model: the mean over data sets of each figure, and how many pictures have known names.

    `images` were learned from; `validated` says whether more of them would help.
    """

    title: str
    means: dict[str, float]
    n_known: int
    n_unknown: int
    n_seeds: int
    pools: Pools  # of the first seed
    images: int = 0


def transferred(part: Labels, results: Sequence[Result]) -> list[Transferred]:
    """The models that are measured, in the order of the plan."""
    found = []
    for variant in part.variants:
        own = [one for one in results if one.variant == variant.name]
        if own:
            values = {
                figure: [some[figure] for one in own for some in one.scores.values() if figure in some]
                for figure in ("validated", *(f"{figure}{rule}" for figure in FIGURES for rule in RULES))
            }
            means = {figure: fmean(some) for figure, some in values.items() if some}
            n_known, n_unknown = (
                int(sum(scores.get(n, 0) for scores in own[0].scores.values()))
                for n in ("n_known", "n_unknown")
            )
            pools = pools_of(own[0].scores, "name")  # a softmax knows no template
            found.append(
                Transferred(variant.title, means, n_known, n_unknown, len(own), pools, own[0].images or 0)
            )
    return found


def labels_section(models: Sequence[Transferred]) -> str:
    """Names that are known and others; and what examples add."""
    first = models[0]
    header = [
        "model",
        "images",
        "validation: known names, among known",
        "known names, among known",
        "known names, among all",
        "unknown names, among all",
        "seeds",
    ]
    rows = [
        [
            f"{one.title}{title}",
            f"{one.images:,}",
            *(
                f"{100 * one.means[figure]:.1f}" if figure in one.means else "–"
                for figure in ("validated", *(f"{name}{rule}" for name in FIGURES))
            ),
            str(one.n_seeds),
        ]
        for one in models
        for rule, title in RULES.items()
        if f"known{rule}" in one.means
    ]
    n_all = first.n_known + first.n_unknown
    text = (
        f"Top-1 in points, the mean over data sets, each on its own names. The softmax has a label for "
        f"{first.n_known:,} of {n_all:,} pictures ({first.n_known / n_all:.0%}); it can never answer a name "
        f"that it lacks.\n\n{markdown_table(header, rows)}"
    )
    pools = {one.title: one.pools for one in models if one.pools}
    return f"{text}\n\n{probes_table(pools)}" if pools else text
