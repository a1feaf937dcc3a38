"""Searches and pictures that changed, as cards of a page, with their pictures inside."""

from functools import cache

from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.refresh.evaluation.changes import Answer, Found, PictureChange, SearchChange
from diptych_training.refresh.evaluation.view import OWN, Picture
from diptych_training.reports.pictures import picture_uri
from diptych_training.reports.text import html_caption, html_text


class Thumbnails:
    """Makes data URIs of the pictures of two data sets."""

    def __init__(self, own: PackedDataset, shipped: PackedDataset) -> None:
        self._own, self._shipped = own, shipped
        self._source = cache(self._open)
        self.uri = cache(self._uri)

    def _uri(self, picture: Picture) -> str:
        """``data:image/webp;base64,...`` of a picture. DataError if its data set is incomplete."""
        dataset = self._own if picture.set == OWN else self._shipped
        pixels = self._source(dataset is self._own, picture.source).images[picture.index]
        return picture_uri(pixels)

    def _open(self, is_own: bool, name: str) -> PackedSource:
        return (self._own if is_own else self._shipped).source(name)


def rank_change(search: SearchChange) -> str:
    """The ranks of the first right picture, in words."""
    if search.rank_before is None or search.rank_after is None:
        return "no picture is labelled so"
    if search.rank_before == search.rank_after:
        return f"first right picture: rank {search.rank_before:,} before and after"
    return f"first right picture: rank {search.rank_before:,} before, {search.rank_after:,} after"


def search_card(search: SearchChange, thumbnails: Thumbnails) -> str:
    """A search with its best pictures before and after."""
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


def picture_card(change: PictureChange, thumbnails: Thumbnails) -> str:
    """A picture with its best label before and after."""
    picture, is_gain = change.picture, change.is_right
    whose = "yours" if picture.set == OWN else html_text(picture.source)
    return (
        f'<li class="card changed"><img src="{thumbnails.uri(picture)}" alt="{html_text(picture.label)}">'
        f"<dl><dt>before</dt><dd>{_marked(change.before, is_right=not is_gain)}</dd>"
        f"<dt>now</dt><dd>{_marked(change.after, is_right=is_gain)}</dd></dl>"
        f'<p class="where">{html_caption(picture.label)}, {whose}</p></li>\n'
    )


def _marked(answer: Answer, *, is_right: bool) -> str:
    sort, mark = ("right", "✓") if is_right else ("wrong", "✗")
    return f'<span class="{sort}">{mark} {html_caption(answer.label)}</span> {answer.probability:.0%}'
