"""A comparison of two versions as one HTML file with its pictures: no script, nothing from elsewhere."""

from collections.abc import Mapping, Sequence

from diptych.cli.output.comparison_table import (
    HEADER,
    LABELS_HEADER,
    figures,
    label_figures,
    name_of,
    parity_lines,
)
from diptych.cli.output.html import data_uri, filled_page, html_text
from diptych_client import ChangedQuery, CollectionComparison, Comparison

Thumbnails = Mapping[tuple[str, str], bytes]  # by collection and id

_NOTE = (
    "Overlap@10: how many of the first ten images old and new have in common. Coverage: of the images that "
    "the old version finds, those that the new one finds."
)
_CARDS_NOTE = "The first ten pictures with the old and the new vectors. Framed ones are found by both."


def shown_images(comparison: Comparison) -> list[tuple[str, str]]:
    """The collection and id of every image on the page, each once."""
    return list(
        dict.fromkeys(
            (one.collection, id)
            for one in comparison.collections
            for query in one.changed
            for id in [*([] if query.id is None else [query.id]), *query.old, *query.new]
        )
    )


def comparison_page(comparison: Comparison, thumbnails: Thumbnails) -> str:
    """Return the page. An image without a thumbnail is shown by its id."""
    classes = {key: f"p{number}" for number, key in enumerate(thumbnails)}
    return filled_page(
        "comparison_page.html",
        title=html_text(_title(comparison)),
        pictures="\n".join(
            f".{classes[key]} {{ background-image: url({data_uri(thumbnails[key])}); }}" for key in classes
        ),
        sections="\n".join(
            [_summary(comparison), *(_section(one, classes) for one in comparison.collections)]
        ),
    )


def _title(comparison: Comparison) -> str:
    pairs = _pairs(comparison)
    return " → ".join(pairs[0]) if len(pairs) == 1 else "Comparison of versions"


def _pairs(comparison: Comparison) -> list[tuple[str, str]]:
    """The versions that are compared, each pair once."""
    return list(dict.fromkeys((str(one.old), str(one.new)) for one in comparison.collections if one.old))


def _summary(comparison: Comparison) -> str:
    omitted = {"old", "new"} if len(_pairs(comparison)) == 1 else set()  # the title has them
    columns = [index for index, name in enumerate(HEADER) if name not in omitted]
    table = _table(
        [HEADER[index] for index in columns],
        [[figures(one)[index] for index in columns] for one in comparison.collections],
    )
    labels = label_figures(comparison)
    label_table = _table(LABELS_HEADER, labels) if labels else ""
    reasons = [f"The switch is refused: {reason}" for reason in comparison.unmet]
    unmet = "".join(f'<p class="unmet">{html_text(reason)}</p>' for reason in reasons)
    notes = "".join(f'\n<p class="note">{html_text(line)}.</p>' for line in parity_lines(comparison))
    return f'<section>\n{unmet}{table}\n<p class="note">{_NOTE}</p>{notes}\n{label_table}</section>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{one}</th>' for one in header)
    body = "".join(map(_row, rows))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(cells: Sequence[str]) -> str:
    first, *others = (html_text(one) for one in cells)
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{one}</td>" for one in others)}</tr>'


def _section(one: CollectionComparison, classes: Mapping[tuple[str, str], str]) -> str:
    heading = f"Queries that change most in {html_text(one.collection)}"
    if not one.n_queries:
        return ""
    if not one.changed:
        return f'<section>\n<h2>{heading}</h2>\n<p class="note">No query changes.</p>\n</section>'
    cards = "\n".join(_card(one.collection, query, classes) for query in one.changed)
    return (
        f'<section>\n<h2>{heading}</h2>\n<p class="note">{_CARDS_NOTE}</p>\n'
        f'<ol class="cards">\n{cards}\n</ol>\n</section>'
    )


def _card(collection: str, query: ChangedQuery, classes: Mapping[tuple[str, str], str]) -> str:
    shared = set(query.old) & set(query.new)
    most = max(len(query.old), len(query.new))
    own = "" if query.id is None else _picture(collection, query.id, classes, "asked")
    rows = "".join(
        f'<div class="side">{side}</div><div class="row">'
        + "".join(_picture(collection, id, classes, "shared" if id in shared else "") for id in ids)
        + "</div>"
        for side, ids in (("old", query.old), ("new", query.new))
    )
    return (
        f'<li class="card"><div class="query">{own}<h3>{html_text(name_of(query))}</h3>'
        f'<span class="share">{len(shared)} of {most} in common</span></div>'
        f'<div class="results">{rows}</div></li>'
    )


def _picture(collection: str, id: str, classes: Mapping[tuple[str, str], str], kind: str) -> str:
    css, name = classes.get((collection, id)), html_text(id)
    if css is None:
        return f'<div class="picture missing {kind}" title="{name}">{name}</div>'
    return f'<div class="picture {css} {kind}" role="img" aria-label="{name}" title="{name}"></div>'
