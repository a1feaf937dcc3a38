"""Write the gains and losses of a refresh as `report.md`, and as `report.html` with pictures."""

from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from diptych_training.files import write_text
from diptych_training.refresh.evaluation.changes import Answer, Found, PictureChange, SearchChange
from diptych_training.refresh.evaluation.difference import METHOD
from diptych_training.refresh.evaluation.evaluate import Choice, losses_beyond, losses_of
from diptych_training.refresh.evaluation.results import POINTS, Evaluation, MixResult, SetResult
from diptych_training.refresh.report.cards import Thumbnails, picture_card, rank_change, search_card
from diptych_training.refresh.report.content import (
    ALPHA_NOTE,
    AMONG_ALL_TITLE,
    OWN_TITLE,
    SHIPPED_TITLE,
    Content,
    Row,
    changed_names,
    chosen_mix,
    own_credit,
    shown_sources,
    table_rows,
)
from diptych_training.refresh.report.curve import draw_curve
from diptych_training.reports.markdown import markdown_list, markdown_text
from diptych_training.reports.report import Code, Figure, Report, Section, Table, Text
from diptych_training.reports.text import html_caption, html_text, one_line, points, signed_points

MARKDOWN_FILE, PAGE_FILE = "report.md", "report.html"
MAX_BYTES = 3_000_000
AMONG = "Searched with the published model among {} and the shipped ones. Framed pictures are right."
HELD_OUT, LEARNED = "your held-out pictures", "your pictures, from which it has learned,"
EACH = (
    "Of the published model, among {} and the shipped ones, with the probability of each answer among the "
    "labels of its set; the clearest first, each pair of labels once."
)
HEADER = ["top-1", "pictures", "captions", "old", "new", "change", "95% interval", "verdict"]
NOTE = (
    "Top-1: the share of pictures whose best label is right, in points, among the labels to choose from. "
    f"Change: with the {METHOD}; it is clear if that excludes 0. Pictures of one caption tend to change "
    "together, and so do the crops of one photograph: what counts is how many captions there are."
)
RECALLS = (1, 5, 10)
FIGURES_HEADER = [
    "set", "model", "labels", "top-1", "top-5",
    *(f"{way} R@{k}" for way in ("text to image", "image to text") for k in RECALLS),
]  # fmt: skip
SETS: tuple[tuple[str, Callable[[MixResult], SetResult | None]], ...] = (
    (OWN_TITLE, lambda mix: mix.own),
    (AMONG_ALL_TITLE, lambda mix: mix.own_among_all),
    (SHIPPED_TITLE, lambda mix: mix.shipped),
)
SHORT = 40  # characters of a label in a line of results


def write_report(folder: Path, content: Content) -> Path:
    """Write `report.md` and `report.html`, each atomically; returns the path of the page.

    The same content gives the same bytes. Raises DataError if a picture's data set is incomplete.
    """
    thumbnails = Thumbnails(content.own, content.shipped)
    write_text(folder / MARKDOWN_FILE, refresh_report(content, thumbnails).markdown())
    page = folder / PAGE_FILE
    write_text(page, report_page(content, thumbnails))
    return page


def report_page(content: Content, thumbnails: Thumbnails | None = None) -> str:
    """HTML of at most MAX_BYTES: the number of searches and pictures of each list is halved until it fits."""
    thumbnails = thumbnails or Thumbnails(content.own, content.shipped)
    changes = content.changes
    searches = (changes.searches, changes.gained_searches, changes.lost_searches)
    lists: list[Sequence[object]] = [*searches, changes.gained_pictures, changes.lost_pictures]
    n = max(1, *map(len, lists))
    while True:
        page = refresh_report(content, thumbnails, n).page()
        if len(page.encode()) <= MAX_BYTES or n == 0:
            return page
        n //= 2


def refresh_report(content: Content, thumbnails: Thumbnails, n: int | None = None) -> Report:
    """The report with at most `n` searches and pictures of each list."""
    day = f"{content.day.day} {content.day:%B %Y}"
    return Report(
        title=content.title,
        lead=f"Made of {content.old_name}, {day}.",
        sections=list(_sections(content, thumbnails, n)),
        footer=tuple(_credits(content)),
        style=files("diptych_training.refresh.report").joinpath("style.css").read_text("utf-8"),
    )


def _sections(content: Content, thumbnails: Thumbnails, n: int | None) -> Iterator[Section]:
    evaluation, choice, changes = content.evaluation, content.choice, content.changes
    among = AMONG.format(LEARNED if choice.in_folds else HELD_OUT)
    each = EACH.format(LEARNED if choice.in_folds else HELD_OUT)

    def searches(heading: str, note: str, listed: Sequence[SearchChange], text: str = "") -> Section:
        cards = "".join(search_card(search, thumbnails) for search in listed[:n])
        text = text or markdown_list(f"{markdown_text(one.query)}: {rank_change(one)}" for one in listed[:n])
        return Section(
            heading,
            [Figure(f'<p class="note">{note}</p>\n<ul class="cards">{cards}</ul>', text)] if cards else [],
        )

    def pictures(heading: str, listed: Sequence[PictureChange]) -> Section:
        cards = "".join(picture_card(change, thumbnails) for change in listed[:n])
        page = f'<p class="note">{each}</p>\n<ul class="cards small">{cards}</ul>'
        return Section(heading, [Figure(page, markdown_list(map(_picture, listed[:n])))] if cards else [])

    gains = gains_table(evaluation, choice)
    figures = Table(
        FIGURES_HEADER, list(_figures_rows(evaluation, choice.alpha)), n_words=2, fold="All figures"
    )
    lead = [Text(one, "lead") for one in content.headline]
    names = [Text(one) for one in changed_names(content)]
    yield Section("Gained and lost", [*lead, gains, Text(NOTE, "note"), *names, figures])
    curve = Figure(
        f'<figure class="scroll">{draw_curve(evaluation, choice)}\n'
        "<figcaption>Top-1 in points for each mix.</figcaption></figure>"
    )
    kept = Text(chosen_mix(choice))
    yield Section(
        "How much of the new weights was kept",
        [kept, Text(ALPHA_NOTE, "note"), curve, weights_table(evaluation, choice)],
    )
    yield Section("Relevance", [Text(content.relevance)] if content.relevance else [])
    lines = f"```text\n{searches_text(changes.searches).replace('`', 'ˋ')}\n```"
    yield searches("Three of your searches", among, changes.searches, lines)
    largest = f"The largest changes of the rank of the first right picture. {among}"
    yield searches("Searches that gained most", largest, changes.gained_searches)
    yield searches("Searches that lost most", largest, changes.lost_searches)
    yield pictures("Pictures that are right now", changes.gained_pictures)
    yield pictures("Pictures that are wrong now", changes.lost_pictures)
    yield Section("Your pairs", [Code(content.pairs)])
    yield Section("The recipe", [Code(content.recipe)])
    yield Section("What to do next", [Text(step) for step in content.steps])


def gains_table(evaluation: Evaluation, choice: Choice) -> Table:
    """The gains and losses of a mix against the old model: a row for each set."""
    return Table(HEADER, [_row(row) for row in table_rows(evaluation, choice)], style="gains")


def _figures_rows(evaluation: Evaluation, alpha: float) -> Iterator[list[str]]:
    """All measured figures of the old model and of a mix, in points: two rows for each set."""
    for title, pick in SETS:
        for name, result in (("old", pick(evaluation.old)), ("new", pick(evaluation.at(alpha)))):
            if result is not None:
                # Searches know no labels: among more of them their recalls are the same.
                yield [title, name, *_figures(result, has_recalls=title != AMONG_ALL_TITLE)]


def weights_table(evaluation: Evaluation, choice: Choice) -> Table:
    """A row for each measured mix: top-1 on both sets, what each part of the shipped set loses at most, as
    the bound counts it, and whether that is within the bound.
    """
    parts = [f"{loss.part} may lose" for loss in choice.losses]
    header = ["alpha", OWN_TITLE, SHIPPED_TITLE, *parts, f"within {choice.max_loss:g}"]
    rows = []
    for mix in evaluation.mixes:
        losses = losses_of(evaluation, mix.alpha, choice.max_loss)
        is_old = mix is evaluation.old
        rows.append(
            [
                f"{mix.alpha:g}",
                "–" if mix.own is None else points(mix.own.top(1)),
                points(mix.shipped.top(1)),
                *("–" if is_old else points(loss.points / POINTS) for loss in losses),
                "yes" if is_old or all(loss.is_within for loss in losses) else "no",
            ]
        )
    return Table(header, rows, fold="As a table")


def other_weights(evaluation: Evaluation, choice: Choice) -> str:
    """One line: top-1 with the weights other than the chosen one, on both sets, and what they may lose."""
    others = [mix for mix in evaluation.mixes if mix.alpha not in (evaluation.old.alpha, choice.alpha)]
    found = "; ".join(f"{mix.alpha:g}: {_both(mix)}{_beyond(evaluation, mix, choice)}" for mix in others)
    sets = "the shipped set" if evaluation.old.own is None else "yours and the shipped set"
    return f"other weights, which --alpha takes without training again ({sets}): {found}"


def _beyond(evaluation: Evaluation, mix: MixResult, choice: Choice) -> str:
    lost = losses_beyond(evaluation, mix.alpha, choice.max_loss)
    return f" ({lost})" if lost else ""


def _both(mix: MixResult) -> str:
    shipped = points(mix.shipped.top(1))
    return shipped if mix.own is None else f"{points(mix.own.top(1))} and {shipped}"


def searches_text(searches: Sequence[SearchChange]) -> str:
    """Searches with the labels of the best pictures before and after, for a terminal; right ones are
    marked.
    """
    blocks = []
    for search in searches:
        lines = [f"“{one_line(search.query)}” ({rank_change(search)})"]
        lines += [f"  before  {_results(search.before)}", f"  after   {_results(search.after)}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _figures(result: SetResult, *, has_recalls: bool) -> list[str]:
    """The number of labels to choose from; top-1, top-5 if there are more than five, and the recalls in both
    directions, in points.
    """
    recalls = [way.get(k) for way in (result.text_to_image, result.image_to_text) for k in RECALLS]
    top_5 = result.top(5) if result.n_labels > 5 else None
    shares = (result.top(1), top_5, *(recalls if has_recalls else [None] * len(recalls)))
    return [f"{result.n_labels:,}", *("–" if share is None else points(share) for share in shares)]


def _row(row: Row) -> list[str]:
    difference = row.difference
    return [
        row.title,
        f"{difference.n:,}",
        f"{difference.n_captions:,}",
        points(difference.old),
        points(difference.new),
        signed_points(difference.change),
        f"{signed_points(difference.low)} to {signed_points(difference.high)}",
        row.verdict,
    ]


def _results(found: Sequence[Found]) -> str:
    names = (f"{one_line(one.picture.label, SHORT)}{' ✓' if one.is_right else ''}" for one in found)
    return "  ".join(f"{place} {name}" for place, name in enumerate(names, 1))


def _picture(change: PictureChange) -> str:
    picture = change.picture
    where = f"{markdown_text(picture.source)} {picture.index}"
    return f"{where}: {_answer(change.before)} before, {_answer(change.after)} now"


def _answer(answer: Answer) -> str:
    return f"{markdown_text(answer.label)} ({answer.probability:.0%})"


def _credits(content: Content) -> Iterator[Figure]:
    """Authors and licences of the user's pictures and of the shipped ones that the report shows."""
    shipped = [(name, entry.author, entry.licence) for name, entry in shown_sources(content)]
    listed = "; ".join(
        f"{html_caption(name)} by {html_caption(author)} ({html_text(lic)})" for name, author, lic in shipped
    )
    own = own_credit(content)
    if own:
        yield Figure(
            f'<p class="note">Your pictures: {html_text(own)}.</p>', f"Your pictures: {markdown_text(own)}."
        )
    if listed:
        yield Figure(f'<p class="note">Shipped pictures: {listed}.</p>')
