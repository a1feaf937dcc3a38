"""A report as Markdown, which also reads well in a terminal."""

from collections.abc import Callable, Iterator, Sequence

from diptych_training.refresh.judge.changes import Answer, Found, PictureChange, SearchChange
from diptych_training.refresh.judge.interval import METHOD
from diptych_training.refresh.judge.results import Judged, MixResult, SetResult
from diptych_training.refresh.report.report import (
    ALPHA_NOTE,
    OWN_TITLE,
    SHIPPED_TITLE,
    Report,
    Row,
    chosen_mix,
    headline,
    own_credit,
    table_rows,
)
from diptych_training.reports.markdown import markdown_table
from diptych_training.reports.text import markdown_text, one_line, points, signed_points

HEADER = ["top-1", "pictures", "labels", "old", "new", "change", "95% interval", "verdict"]
NOTE = (
    "Top-1: the share of pictures whose best label is right, in points, among all labels of the set. "
    f"Change: with the {METHOD}; it is clear if that excludes 0. "
    "Pictures of one label tend to change together: with few labels the interval is too narrow."
)
RECALLS = (1, 5, 10)
FIGURES_HEADER = [
    "set", "model", "top-1", "top-5",
    *(f"{way} R@{k}" for way in ("text to image", "image to text") for k in RECALLS),
]  # fmt: skip
SETS: tuple[tuple[str, Callable[[MixResult], SetResult | None]], ...] = (
    (OWN_TITLE, lambda mix: mix.own),
    (SHIPPED_TITLE, lambda mix: mix.shipped),
)
CURVE_HEADER = ["alpha", OWN_TITLE, SHIPPED_TITLE, "change"]
SHORT = 40  # characters of a label in a line of results


def gains_table(judged: Judged, alpha: float) -> str:
    """What a mix gained and lost against the old model: a row for each set."""
    return markdown_table(HEADER, [_row(row) for row in table_rows(judged, alpha)])


def figures_table(judged: Judged, alpha: float) -> str:
    """All measured figures of the old model and of a mix, in points."""
    return markdown_table(FIGURES_HEADER, list(figures_rows(judged, alpha)), n_words=2)


def figures_rows(judged: Judged, alpha: float) -> Iterator[list[str]]:
    """The cells of `figures_table`: two rows for each set."""
    for title, pick in SETS:
        for name, result in (("old", pick(judged.old)), ("new", pick(judged.at(alpha)))):
            if result is not None:
                yield [title, name, *_figures(result)]


def curve_table(judged: Judged) -> str:
    """A row for each measured mix: top-1 on both sets, and what is lost on the shipped one."""
    return markdown_table(CURVE_HEADER, list(curve_rows(judged)))


def curve_rows(judged: Judged) -> Iterator[list[str]]:
    """The cells of `curve_table`."""
    for mix in judged.mixes:
        own = "–" if mix.own is None else points(mix.own.top(1))
        change = signed_points(judged.shipped_difference(mix.alpha).change)
        yield [f"{mix.alpha:g}", own, points(mix.shipped.top(1)), change]


def other_weights(judged: Judged, alpha: float) -> str:
    """One line: top-1 with the weights beside the chosen one, on both sets."""
    others = [mix for mix in judged.mixes if mix.alpha not in (judged.old.alpha, alpha)]
    found = "; ".join(f"{mix.alpha:g}: {_both(mix)}" for mix in others)
    sets = "the shipped set" if judged.old.own is None else "yours and the shipped set"
    return f"other weights, which --alpha takes without training again ({sets}): {found}"


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


def rank_change(search: SearchChange) -> str:
    """The ranks of the first right picture, in words."""
    if search.rank_before is None or search.rank_after is None:
        return "no picture is labelled so"
    if search.rank_before == search.rank_after:
        return f"first right picture: rank {search.rank_before:,} before and after"
    return f"first right picture: rank {search.rank_before:,} before, {search.rank_after:,} after"


def report_markdown(report: Report) -> str:
    """The whole report without its pictures."""
    judged, alpha, changes = report.judged, report.choice.alpha, report.changes
    parts = [
        f"# {markdown_text(report.title)}",
        f"Made of {markdown_text(report.old_name)}, {report.day.isoformat()}. "
        + " ".join(headline(judged, report.choice)),
        gains_table(judged, alpha),
        NOTE,
        "## How much of the new weights was kept",
        f"{markdown_text(chosen_mix(report.choice))} {ALPHA_NOTE}",
        curve_table(judged),
        "## Three of your searches",
        f"```text\n{searches_text(changes.searches).replace('`', 'ˋ')}\n```",
        *_listed("## Searches that gained most", [_search(one) for one in changes.gained_searches]),
        *_listed("## Searches that lost most", [_search(one) for one in changes.lost_searches]),
        *_listed("## Pictures that are right now", [_picture(one) for one in changes.gained_pictures]),
        *_listed("## Pictures that are wrong now", [_picture(one) for one in changes.lost_pictures]),
        "## All figures",
        figures_table(judged, alpha),
        *_credit(report),
        *_listed("## What to do next", [markdown_text(step) for step in report.steps]),
    ]
    return "\n\n".join(parts) + "\n"


def _credit(report: Report) -> list[str]:
    credit = own_credit(report)
    return [f"Your pictures: {markdown_text(credit)}."] if credit else []


def _figures(result: SetResult) -> list[str]:
    """Top-1, top-5, and the recalls in both directions, in points."""
    recalls = [way[k] for way in (result.text_to_image, result.image_to_text) for k in RECALLS]
    return [points(share) for share in (result.top(1), result.top(5), *recalls)]


def _row(row: Row) -> list[str]:
    difference = row.difference
    return [
        row.title,
        f"{difference.n:,}",
        f"{row.n_labels:,}",
        points(difference.old),
        points(difference.new),
        signed_points(difference.change),
        f"{signed_points(difference.low)} to {signed_points(difference.high)}",
        row.verdict,
    ]


def _results(found: Sequence[Found]) -> str:
    names = (f"{one_line(one.picture.label, SHORT)}{' ✓' if one.is_right else ''}" for one in found)
    return "  ".join(f"{place} {name}" for place, name in enumerate(names, 1))


def _listed(heading: str, lines: Sequence[str]) -> list[str]:
    return [heading, "\n".join(f"- {line}" for line in lines)] if lines else []


def _search(search: SearchChange) -> str:
    return f"{markdown_text(search.query)}: {rank_change(search)}"


def _picture(change: PictureChange) -> str:
    picture = change.picture
    where = f"{markdown_text(picture.source)} {picture.index}"
    return f"{where}: {_answer(change.before)} before, {_answer(change.after)} now"


def _answer(answer: Answer) -> str:
    return f"{markdown_text(answer.label)} ({answer.probability:.0%})"
