"""The content of a report, in words and rows: its headline, its table, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from diptych_training.data.packed import PackedDataset, SourceEntry
from diptych_training.data.pairs.packing import UNKNOWN
from diptych_training.evaluate.table import TITLES
from diptych_training.refresh.evaluation.changes import Changes
from diptych_training.refresh.evaluation.evaluate import Choice
from diptych_training.refresh.evaluation.results import MIN_OWN_PAIRS, Difference, Evaluation
from diptych_training.refresh.evaluation.view import SHIPPED
from diptych_training.reports.text import one_line, points, signed_points

ALPHA_NOTE = (
    "Alpha is the share of the new weights in the mix (WiSE-FT): 0 is the old model, 1 the newly trained one."
)
MAX_NAMES = 40  # pictures that are named
TOO_FEW = "too few to judge"
OWN_TITLE, SHIPPED_TITLE = "your pairs, held out", "shipped set"


@dataclass(frozen=True)
class Content:
    """The inputs of a report.

    `name` and `old_name` are of the new model and of the one that it was made of; `own` and `shipped` hold
    the pictures that `changes` name. `gained` and `lost` name held-out pictures of the user's. `pairs` and
    `recipe` are texts to show, possibly empty; `next_steps` are sentences, `advice` by default.
    """

    name: str
    old_name: str
    day: date
    evaluation: Evaluation
    choice: Choice
    changes: Changes
    own: PackedDataset
    shipped: PackedDataset
    gained: Sequence[str] = ()
    lost: Sequence[str] = ()
    pairs: str = ""
    recipe: str = ""
    next_steps: Sequence[str] | None = None

    @property
    def title(self) -> str:
        """The heading."""
        return f"{self.name}: what was gained and lost"

    @property
    def steps(self) -> list[str]:
        """The next steps, as sentences."""
        return advice(self.evaluation, self.choice) if self.next_steps is None else list(self.next_steps)


@dataclass(frozen=True)
class Row:
    """A set of pictures in the table. `is_part`: a kind of the shipped set. `verdict` is in words."""

    title: str
    n_labels: int
    difference: Difference
    verdict: str
    is_part: bool = False


def table_rows(evaluation: Evaluation, alpha: float) -> list[Row]:
    """The user's held-out pairs if there are any, the shipped set, and its kinds if it has several."""
    new = evaluation.at(alpha)
    rows = []
    own = evaluation.own_difference(alpha)
    if own is not None and new.own is not None:
        verdict = TOO_FEW if evaluation.is_too_few else own.verdict
        rows.append(Row(OWN_TITLE, new.own.n_labels, own, verdict))
    shipped = evaluation.shipped_difference(alpha)
    rows.append(Row(SHIPPED_TITLE, new.shipped.n_labels, shipped, shipped.verdict))
    kinds = list(evaluation.kind_differences(alpha))
    for kind, part in kinds if len(kinds) > 1 else []:
        title = f"of it: {TITLES[kind].lower()}"
        rows.append(Row(title, new.kinds[kind].n_labels, part, part.verdict, is_part=True))
    return rows


def headline(evaluation: Evaluation, choice: Choice) -> list[str]:
    """The result in two sentences: on the user's pairs, and on the shipped set against the bound."""
    own, shipped = evaluation.own_difference(choice.alpha), evaluation.shipped_difference(choice.alpha)
    if own is None:
        first = "None of your pairs was held out, so that nothing can be said about them."
    else:
        first = (
            f"Your pictures: top-1 {points(own.old)} before, {points(own.new)} now "
            f"({signed_points(own.change)} points; {TOO_FEW if evaluation.is_too_few else own.verdict})."
        )
    bound = "within" if choice.is_within else "beyond"
    second = (
        f"Shipped set: {points(shipped.old)} before, {points(shipped.new)} now "
        f"({signed_points(shipped.change)} points; {shipped.verdict}), {bound} the bound of a loss of "
        f"{choice.max_loss:g}."
    )
    return [first, second]


def changed_names(content: Content) -> list[str]:
    """Which of the user's held-out pictures turned right, and which turned wrong, as sentences."""
    turned = (
        ("gained: right now, wrong before", content.gained),
        ("lost: wrong now, right before", content.lost),
    )
    return [f"{len(names):,} {what}: {_first(names)}." for what, names in turned if names]


def _first(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMES
    return ", ".join(map(one_line, names[:MAX_NAMES])) + (f" and {more:,} more" if more > 0 else "")


def chosen_mix(choice: Choice) -> str:
    """Describe which mix was kept and why, as sentences."""
    kept = f"Alpha {choice.alpha:g}, {choice.reason}."
    flattering = " Since the held-out pairs chose it, their figure is slightly flattering."
    return kept if choice.is_fixed or choice.alpha == 0 else f"{kept}{flattering}"


def shown_sources(report: Content) -> list[tuple[str, SourceEntry]]:
    """The sources of the shipped set whose pictures are among the changes, by name."""
    changes = report.changes
    searches = (*changes.searches, *changes.gained_searches, *changes.lost_searches)
    pictures = [found.picture for search in searches for found in (*search.before, *search.after)]
    pictures += [change.picture for change in (*changes.gained_pictures, *changes.lost_pictures)]
    names = {picture.source for picture in pictures if picture.set == SHIPPED}
    return [(name, report.shipped.entries[name]) for name in sorted(names)]


def own_credit(report: Content) -> str:
    """Author and licence of the user's pictures, as far as they are stated; an empty text if neither is."""
    entry = next(iter(report.own.entries.values()))  # both are given for all pictures
    author = "" if entry.author == UNKNOWN else f"by {entry.author}"
    licence = "" if entry.licence == UNKNOWN else f"({entry.licence})"
    return " ".join(part for part in (author, licence) if part)


def advice(evaluation: Evaluation, choice: Choice) -> list[str]:
    """Advice that follows from the figures."""
    own = evaluation.own_difference(choice.alpha)
    steps = []
    if not choice.is_within:
        steps.append(
            f"It loses {choice.loss:.1f} points on the shipped set, the bound is {choice.max_loss:g}. "
            "Rehearse more, train fewer steps or at a lower rate (edit the recipe and run it again), or "
            "accept the loss with a higher --max-loss."
        )
    if evaluation.is_too_few:
        lacking = MIN_OWN_PAIRS - evaluation.n_own_pairs
        steps.append(
            f"Add pairs: {evaluation.n_own_pairs:,} are too few to judge by. With {lacking:,} more, the mix "
            "of old and new weights is chosen by what it does on held-out ones."
        )
    elif choice.alpha == 0:
        steps.append(
            "No mix within the bound is better on your pairs than the old model: keep that. Check the "
            "captions, add pairs of what it does not know yet, or train longer."
        )
    elif own is not None and own.verdict != "better":
        steps.append("No clear gain on your pairs: check the captions, add pairs, or train longer.")
    steps.append(
        "Look at the searches and pictures that lost: where one matters to you, add pairs that show it."
    )
    return steps
