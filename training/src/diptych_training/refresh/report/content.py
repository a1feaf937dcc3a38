"""The content of a report, in words and rows: its headline, its table, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from diptych_training.data.packed import PackedDataset, SourceEntry
from diptych_training.data.pairs.packing import UNKNOWN
from diptych_training.refresh.evaluation.changes import Changes
from diptych_training.refresh.evaluation.difference import Difference, captions_needed
from diptych_training.refresh.evaluation.evaluate import Choice, Loss
from diptych_training.refresh.evaluation.results import POINTS, Evaluation
from diptych_training.refresh.evaluation.view import SHIPPED
from diptych_training.reports.text import counted, one_line, points, signed_points

ALPHA_NOTE = (
    "Alpha is the share of the new weights in the mix (WiSE-FT): 0 is the old model, 1 the newly trained one."
)
MAX_NAMES = 40  # pictures that are named
LARGE_GAIN = 0.05  # a measured gain that few captions, not the training, leave uncertain
IN_FOLDS = (
    "Measured on pictures that the judging models had not seen; the published model has also learned from "
    "these."
)
OWN_TITLE, SHIPPED_TITLE = "your pairs, held out", "shipped set"
AMONG_ALL_TITLE = "the same among all labels"


@dataclass(frozen=True)
class Content:
    """The inputs of a report.

    `name` and `old_name` are of the new model and of the one that it was made of; `own` and `shipped` hold
    the pictures that `changes` name. `gained` and `lost` name held-out pictures of the user's. `pairs` and
    `recipe` are texts to show, possibly empty, as is `relevance`, which is known once a version is
    published; `next_steps` are sentences, `advice` by default.
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
    relevance: str = ""
    next_steps: Sequence[str] | None = None

    @property
    def title(self) -> str:
        """The heading."""
        return f"{self.name}: what was gained and lost"

    @property
    def headline(self) -> list[str]:
        """The five lines that come first: gained, lost, how sure both are, and what to do."""
        return [*headline(self.evaluation, self.choice), f"What to do: {self.steps[0]}"]

    @property
    def steps(self) -> list[str]:
        """The next steps, as sentences."""
        return advice(self.evaluation, self.choice) if self.next_steps is None else list(self.next_steps)


@dataclass(frozen=True)
class Row:
    """A set of pictures in the table; `verdict` is in words."""

    title: str
    difference: Difference
    verdict: str


def table_rows(evaluation: Evaluation, choice: Choice) -> list[Row]:
    """The user's held-out pairs if there are any, the shipped set, and its parts if it has both."""
    rows: list[Row] = []
    if choice.own is not None:
        alone, among_all = choice.own.difference, choice.own.among_all
        rows += [
            Row(OWN_TITLE, alone, alone.verdict),
            Row(AMONG_ALL_TITLE, among_all, among_all.verdict),
        ]
    shipped = evaluation.shipped_difference(choice.alpha)
    rows.append(Row(SHIPPED_TITLE, shipped, shipped.verdict))
    parts = list(evaluation.part_differences(choice.alpha))
    rows += [Row(f"of it: {part}", one, one.verdict) for part, one in parts if len(parts) > 1]
    return rows


def headline(evaluation: Evaluation, choice: Choice) -> list[str]:
    """What was gained, what was lost, how sure both are, in four sentences."""
    if choice.own is None:
        gained, sure = "none of your pairs was held out to tell.", "nothing can be said."
        if evaluation.old.own is not None:
            gained = f"your pairs were not judged with the weight {choice.alpha:g} in all folds."
    else:
        own, among_all = choice.own.difference, choice.own.among_all
        gained = (
            f"your pictures: top-1 {_before_and_now(own)} among your labels; {_before_and_now(among_all)} "
            "among yours and the shipped ones."
        )
        sure = (
            f"{signed_points(own.low)} to {signed_points(own.high)} points (95% interval, {own.n:,} pictures "
            f"of {counted(own.n_captions, 'caption')}): {own.verdict}; "
            f"top-1 now is between {points(own.new_low)} and {points(own.new_high)}."
            f"{f' {IN_FOLDS}' if choice.in_folds else ''}"
        )
    lost = "; ".join(f"{one.part} {_before_and_now(one.difference)}" for one in choice.losses)
    return [
        f"Gained: {gained}",
        f"Lost: shipped {lost}.",
        f"How sure the gain is: {sure}",
        f"How sure the loss is: {'; '.join(loss_text(loss, evaluation) for loss in choice.losses)}. "
        f"{'Within' if choice.is_within else 'Beyond'} the bound of {choice.max_loss:g}.",
    ]


def loss_text(loss: Loss, evaluation: Evaluation) -> str:
    """How much a part of the shipped set lost at most, or that it has too few captions to tell."""
    found, part = loss.difference, loss.part
    if part == "photographs" and evaluation.n_photographs is not None:
        by = f"{found.n:,} crops of {counted(evaluation.n_photographs, 'photograph')}"
    else:
        by = f"{found.n:,} pictures of {counted(found.n_captions, 'caption')}"
    if loss.can_be_bounded:
        return f"{part} lose at most {loss.points:.1f} points (95% interval, {by})"
    needed = f" ({captions_needed(loss.max_loss / 2 / POINTS)} are needed)" if loss.max_loss else ""
    return (
        f"{part} lose {loss.points:.1f} as measured, which counts since {by} are too few to count the worse "
        f"end{needed}, and perhaps {-POINTS * found.low:.1f}"
    )


def _before_and_now(found: Difference) -> str:
    change = signed_points(found.change)
    return f"{points(found.old)} before, {points(found.new)} now ({change})"


def changed_names(content: Content) -> list[str]:
    """Which of the user's held-out pictures turned right, and which turned wrong, as sentences: those that
    the first lines count.
    """
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
    if choice.is_fixed:
        return kept
    others = f"weight {', '.join(f'{one:g}' for one in sorted({*choice.own_alphas}))}"
    chosen = f"weight that the other four fifths choose ({others})"
    if choice.in_folds:
        chosen = f"steps and {chosen}, and in the first two folds by their rate, which the other folds keep"
    return (
        f"{kept} Each fifth of your held-out captions is judged by the {chosen}. The shipped pictures told "
        "which weights are within the bound: the loss that they show may be a little smaller than on others."
    )


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
    own = None if choice.own is None else choice.own.difference
    steps = []
    if not choice.is_within:
        most = max(loss.points for loss in choice.losses)
        steps.append(
            f"It may lose {most:.1f} points on a part of the shipped set, the bound is {choice.max_loss:g}. "
            "Rehearse more, train fewer steps or at a lower rate (edit the recipe and run it again), or "
            "accept the loss with a higher --max-loss."
        )
    if choice.alpha == 0:
        steps.append(
            "No mix within the bound is better on your pairs than the old model: keep that. Check the "
            "captions, add pairs of what it does not know yet, or train longer."
        )
    elif own is not None and own.verdict != "better":
        steps.append(_unclear(own))
    steps.append(
        "Look at the searches and pictures that lost: where one matters to you, add pairs that show it."
    )
    return steps


def _unclear(own: Difference) -> str:
    """What to do about a change that chance may explain, be it too small or measured on too few captions."""
    if own.change < LARGE_GAIN:
        return "No clear gain on your pairs: check the captions, add pairs, or train longer."
    return (
        f"Your pairs gained {100 * own.change:.1f} points, but {own.n_captions:,} captions are too few to be "
        "sure of it: pairs with further captions make it surer, more pictures of the same captions hardly."
    )
