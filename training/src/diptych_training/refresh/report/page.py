"""A report as one HTML file with its pictures: no script, nothing from elsewhere."""

from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files

from diptych_training.refresh.judge.changes import Answer, Found, PictureChange, SearchChange
from diptych_training.refresh.judge.view import OWN
from diptych_training.refresh.report.curve import draw_curve
from diptych_training.refresh.report.pictures import Thumbnails
from diptych_training.refresh.report.report import (
    ALPHA_NOTE,
    Report,
    Row,
    chosen_mix,
    headline,
    own_credit,
    shown_sources,
    table_rows,
)
from diptych_training.refresh.report.table import (
    CURVE_HEADER,
    FIGURES_HEADER,
    HEADER,
    NOTE,
    curve_rows,
    figures_rows,
    rank_change,
)
from diptych_training.reports.page import document, section, table
from diptych_training.reports.text import html_block, html_caption, html_text, points, signed_points

MAX_BYTES = 3_000_000
LONGEST_BLOCK = 100_000  # characters of the recipe, and of the report on the pairs
Draw = Callable[[SearchChange | PictureChange], str]


def report_page(report: Report) -> str:
    """HTML of at most MAX_BYTES: the number of searches and pictures of each list is halved until it fits."""
    thumbnails = Thumbnails(report.own, report.shipped)
    style = files("diptych_training.refresh.report").joinpath("style.css").read_text("utf-8")
    day = f'<time datetime="{report.day.isoformat()}">{report.day.day} {report.day:%B %Y}</time>'
    lead = f"<p>Made of {html_text(report.old_name)}, {day}.</p>"
    n = max(1, *(len(listed) for listed in _lists(report)))
    while True:
        page = document(report.title, lead, _sections(report, thumbnails, n), _credits(report), style)
        if len(page.encode()) <= MAX_BYTES or n == 0:
            return page
        n //= 2


def _lists(report: Report) -> list[Sequence[object]]:
    changes = report.changes
    return [
        changes.searches,
        changes.gained_searches,
        changes.lost_searches,
        changes.gained_pictures,
        changes.lost_pictures,
    ]


def _sections(report: Report, thumbnails: Thumbnails, n: int) -> Iterable[str]:
    changes = report.changes

    def searches(heading: str, note: str, listed: Sequence[SearchChange]) -> str:
        cards = "".join(_search(search, thumbnails) for search in listed[:n])
        return (
            section(heading, f'<p class="note">{note}</p>\n<ul class="cards">{cards}</ul>') if cards else ""
        )

    def pictures(heading: str, note: str, listed: Sequence[PictureChange]) -> str:
        cards = "".join(_picture(change, thumbnails) for change in listed[:n])
        body = f'<p class="note">{note}</p>\n<ul class="cards small">{cards}</ul>'
        return section(heading, body) if cards else ""

    yield _gains(report)
    yield _mix(report)
    among = "Searched among your held-out pictures and the shipped ones. Framed pictures are right."
    yield searches("Three of your searches", among, changes.searches)
    largest = f"The largest changes of the rank of the first right picture. {among}"
    yield searches("Searches that gained most", largest, changes.gained_searches)
    yield searches("Searches that lost most", largest, changes.lost_searches)
    each = (
        "With the probability of each answer among the labels of its set; the clearest first, each pair of "
        "labels once."
    )
    yield pictures("Pictures that are right now", each, changes.gained_pictures)
    yield pictures("Pictures that are wrong now", each, changes.lost_pictures)
    yield _block("Your pairs", report.pairs)
    yield _block("The recipe", report.recipe)
    steps = "".join(f"<li>{html_block(step, LONGEST_BLOCK)}</li>" for step in report.steps)
    yield section("What to do next", f"<ul>{steps}</ul>") if steps else ""


def _gains(report: Report) -> str:
    judged, alpha = report.judged, report.choice.alpha
    lead = "\n".join(f'<p class="lead">{html_text(one)}</p>' for one in headline(judged, report.choice))
    head = "".join(f'<th scope="col">{name}</th>' for name in HEADER[:-1])
    rows = "\n".join(map(_row, table_rows(judged, alpha)))
    further = table(FIGURES_HEADER, figures_rows(judged, alpha))
    return section(
        "Gained and lost",
        f'{lead}\n<div class="scroll"><table class="gains">\n'
        f'<thead><tr>{head}<th scope="col" class="words">verdict</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>\n"
        f'<p class="note">{NOTE}</p>\n<details><summary>All figures</summary>{further}</details>',
    )


def _row(row: Row) -> str:
    difference = row.difference
    verdict = row.verdict if row.verdict in ("better", "worse") else "unclear"
    interval = f"{signed_points(difference.low)} to {signed_points(difference.high)}"
    cells = [
        f"{difference.n:,}",
        f"{row.n_labels:,}",
        points(difference.old),
        points(difference.new),
        signed_points(difference.change),
        interval,
    ]
    part = ' class="part"' if row.is_part else ""
    return (
        f'<tr{part}><th scope="row">{row.title}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}'
        f'<td class="words {verdict}">{row.verdict}</td></tr>'
    )


def _mix(report: Report) -> str:
    curve = table(CURVE_HEADER, curve_rows(report.judged))
    return section(
        "How much of the new weights was kept",
        f'<p>{html_text(chosen_mix(report.choice))}</p>\n<p class="note">{ALPHA_NOTE}</p>\n'
        f'<figure class="scroll">{draw_curve(report.judged, report.choice)}\n'
        "<figcaption>Top-1 in points for each mix.</figcaption></figure>\n"
        f"<details><summary>As a table</summary>{curve}</details>",
    )


def _search(search: SearchChange, thumbnails: Thumbnails) -> str:
    before = "".join(_found(found, thumbnails) for found in search.before)
    after = "".join(_found(found, thumbnails) for found in search.after)
    return (
        f'<li class="card"><h3>{html_caption(search.query)}</h3><p class="rank">{rank_change(search)}</p>'
        f'<div class="results"><span class="side">before</span>{before}</div>'
        f'<div class="results"><span class="side">after</span>{after}</div></li>\n'
    )


def _found(found: Found, thumbnails: Thumbnails) -> str:
    label = html_text(found.picture.label)
    kind, mark = (" is-right", "✓ ") if found.is_right else ("", "")
    alt = f"right: {label}" if found.is_right else label
    return (
        f'<figure class="found{kind}"><img src="{thumbnails.uri(found.picture)}" alt="{alt}" title="{label}">'
        f"<figcaption>{mark}{html_caption(found.picture.label)}</figcaption></figure>"
    )


def _picture(change: PictureChange, thumbnails: Thumbnails) -> str:
    picture, is_gain = change.picture, change.is_right
    whose = "yours" if picture.set == OWN else html_text(picture.source)
    return (
        f'<li class="card changed"><img src="{thumbnails.uri(picture)}" alt="{html_text(picture.label)}">'
        f"<dl><dt>before</dt><dd>{_answer(change.before, is_right=not is_gain)}</dd>"
        f"<dt>now</dt><dd>{_answer(change.after, is_right=is_gain)}</dd></dl>"
        f'<p class="where">{html_caption(picture.label)}, {whose}</p></li>\n'
    )


def _answer(answer: Answer, *, is_right: bool) -> str:
    sort, mark = ("right", "✓") if is_right else ("wrong", "✗")
    return f'<span class="{sort}">{mark} {html_caption(answer.label)}</span> {answer.probability:.0%}'


def _credits(report: Report) -> str:
    """Authors and licences of the user's pictures and of the shipped ones that the report shows."""
    shipped = (
        f"{html_caption(name)} by {html_caption(entry.author)} ({html_text(entry.licence)})"
        for name, entry in shown_sources(report)
    )
    credits = (("Your pictures", html_text(own_credit(report))), ("Shipped pictures", "; ".join(shipped)))
    return "\n".join(f'<p class="note">{whose}: {listed}.</p>' for whose, listed in credits if listed)


def _block(heading: str, text: str) -> str:
    return (
        section(heading, f'<pre tabindex="0">{html_block(text, LONGEST_BLOCK)}</pre>') if text.strip() else ""
    )
