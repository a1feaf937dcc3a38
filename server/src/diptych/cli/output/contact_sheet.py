"""The hits of a search as one HTML file with their thumbnails: no script, nothing from elsewhere."""

from collections.abc import Mapping, Sequence

from diptych.cli.output.html import data_uri, filled_page, html_text
from diptych.cli.output.metadata import brief, flat, image_name
from diptych_client import Hit, Query, SearchResult

Thumbnails = Mapping[tuple[str, str], bytes]  # by collection and id


def contact_sheet(
    queries: Sequence[Query], result: SearchResult, thumbnails: Thumbnails, *, offset: int = 0
) -> str:
    """Return the page. A hit without a thumbnail has a frame in its place."""
    model = result.model
    n_hits = f"{len(result.hits)} {'hit' if len(result.hits) == 1 else 'hits'}"
    where = ", ".join(result.collections)
    hits = [_hit(rank, hit, result, thumbnails) for rank, hit in enumerate(result.hits, offset + 1)]
    return filled_page(
        "contact_sheet.html",
        title=html_text(" + ".join(map(_name_of, queries))),
        about=html_text(f"{n_hits} in {where}, by {model.name}/{model.version} ({model.precision})"),
        hits="\n".join(hits),
    )


def _name_of(query: Query) -> str:
    name = str(query.image or query.text or f"the image {query.id}")
    return name if query.weight == 1 else f"{name} ({query.weight:g})"


def _hit(rank: int, hit: Hit, result: SearchResult, thumbnails: Thumbnails) -> str:
    id = f"{hit.collection}/{hit.id}" if len(result.collections) > 1 else hit.id
    name = image_name(hit.metadata) or id
    relevance = "" if hit.relevance is None else f" · relevance {hit.relevance:.2f}"
    same = f" · {len(hit.duplicates)} more of it" if hit.duplicates else ""
    metadata = "".join(
        f'<div class="metadata">{html_text(key)}: {html_text(brief(value))}</div>'
        for key, value in {**flat(hit.metadata), "id": id}.items()
    )
    thumbnail = thumbnails.get((hit.collection, hit.id))
    picture = (
        '<div class="missing">no picture is kept</div>'
        if thumbnail is None
        else f'<img alt="{html_text(id)}" src="{data_uri(thumbnail)}">'
    )
    scores = f"cosine {hit.cosine:.3f}{relevance}{same}"
    return (
        f'<li><figure>{picture}<figcaption><div class="name">{rank}. {html_text(name)}</div>'
        f'<div class="scores">{scores}</div>{metadata}</figcaption></figure></li>'
    )
