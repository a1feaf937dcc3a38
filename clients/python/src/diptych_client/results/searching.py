"""The results of `search`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from diptych_client.results.common import Json, ModelRef
from diptych_client.results.metadata import Facet


@dataclass(frozen=True)
class Duplicate:
    """An image that was folded into a hit: `kind` is "bytes", "picture" or "near"."""

    id: str
    kind: str
    collection: str = ""


@dataclass(frozen=True)
class Hit:
    """One image that a search found. `relevance` is the probability that it is what was meant, None if
    the model is not calibrated.

    `duplicates` were folded into it by `collapse`. `matched` is what found it: "words", which the fields
    `matched_fields` carry, "meaning", or both; it is empty if the image is only near, and rarely fits.
    """

    id: str
    cosine: float
    relevance: float | None
    metadata: Json
    links: Mapping[str, str]
    duplicates: tuple[Duplicate, ...] = ()
    collection: str = ""
    matched: tuple[Literal["words", "meaning"], ...] = ()
    matched_fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchResult:
    """The hits of a search, best first or in the order of `order_by`.

    `truncated`: a text of the query was longer than the model reads.

    `facets` has those that were asked for, in their order. `collection` is None if several were searched.
    `words_incomplete`: the words of some images are not indexed yet, so that these find no image.
    `sorted_all` is False if more hits may fit than `order_by` has sorted, and None without `order_by`.
    """

    model: ModelRef
    collection: str | None
    hits: tuple[Hit, ...]
    truncated: bool
    facets: tuple[Facet, ...] = ()
    collections: tuple[str, ...] = ()
    words_incomplete: bool = False
    sorted_all: bool | None = None
