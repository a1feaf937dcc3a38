"""Static softmax against language: accuracy on names that the softmax knows, and on others."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from diptych_training.reports.markdown import markdown_table
from diptych_training.study.name_scores import RAW
from diptych_training.study.plan import Labels
from diptych_training.study.prompts import Pools, pools_of, probes_table
from diptych_training.study.results import Result

FIGURES = ("known", "known_of_all", "unknown", "unseen")
RULES = {"": "", RAW: ", raw log-probability"}  # what ends the names of figures, and titles


@dataclass(frozen=True)
class Transferred:
    """One model: the mean over data sets of each figure, and how many pictures have known names.

    `images` were learned from, with so many FLOPs; `validated` says whether more of them would help.
    """

    title: str
    means: dict[str, float]
    n: dict[str, int]  # pictures with known, unknown and unseen names
    n_seeds: int
    pools: Pools  # of the first seed
    images: int
    flops: float

    @property
    def is_of_labels(self) -> bool:
        """Whether it can only name what it has a label for; such models have a raw rule."""
        return f"known{RAW}" in self.means


def transferred(part: Labels, results: Sequence[Result]) -> list[Transferred]:
    """The models that are measured, in the order of the plan."""
    found = []
    for variant in part.variants:
        own = [one for one in results if one.variant == variant.name]
        if own:
            values = {
                figure: [some[figure] for one in own for some in one.scores.values() if figure in some]
                for figure in (f"{figure}{rule}" for figure in ("validated", *FIGURES) for rule in RULES)
            }
            means = {figure: fmean(some) for figure, some in values.items() if some}
            n = {
                name: int(sum(scores.get(f"n_{name}", 0) for scores in own[0].scores.values()))
                for name in ("known", "unknown", "unseen")
            }
            pools = pools_of(own[0].scores, "name")  # a softmax knows no template
            found.append(
                Transferred(variant.title, means, n, len(own), pools, own[0].images or 0, own[0].flops or 0.0)
            )
    return found


def labels_section(models: Sequence[Transferred]) -> str:
    """Names that are known and others; and what examples add."""
    header = [
        "model",
        "images",
        "TFLOPs in all",
        "validation: known names, among known",
        "known names, among known",
        "known names, among all",
        "unknown names, among all",
        "of these, no label in training",
        "seeds",
    ]
    rows = [
        [
            f"{one.title}{title}",
            f"{one.images:,}",
            f"{one.flops / 1e12:.3g}",
            *(
                f"{100 * one.means[figure]:.1f}" if figure in one.means else "–"
                for figure in (f"{name}{rule}" for name in ("validated", *FIGURES))
            ),
            str(one.n_seeds),
        ]
        for one in models
        for rule, title in RULES.items()
        if f"known{rule}" in one.means
    ]
    n = models[0].n
    n_all = n["known"] + n["unknown"]
    text = (
        f"Top-1 in points, the mean over data sets, each on its own names. The softmax has a label for "
        f"{n['known']:,} of {n_all:,} pictures ({n['known'] / n_all:.0%}). Of the {n['unknown']:,} others, "
        f"{n['unseen']:,} have a name that is no label of the training data; the names of the rest are too "
        "rare for the softmax, but CLIP learned from them. The softmax can answer no name that it lacks: "
        "what it has right there are pictures with a second name. FLOPs are those of training, forward and "
        f"backward.\n\n{markdown_table(header, rows)}"
    )
    pools = {one.title: one.pools for one in models if one.pools}
    return f"{text}\n\n{probes_table(pools, 'the name alone')}" if pools else text
