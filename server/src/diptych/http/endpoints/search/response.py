"""The response of `/search`."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from diptych.core.collections.metadata.facets import MAX_VALUES, Facet
from diptych.core.collections.search import SearchResult
from diptych.core.types import Hit, MatchedBy
from diptych.http.endpoints.references import EXAMPLE_LINKS, EXAMPLE_MODEL, Links, ModelRef
from diptych.http.parsing import schemas


class DuplicateResponse(BaseModel):
    """An image that was folded into a hit: it has the same bytes, is the same picture, or is near to it."""

    id: str
    kind: Literal["bytes", "picture", "near"]
    collection: str


class HitResponse(BaseModel):
    """One result. `relevance` is the probability that it is what was meant, null if the model is not
    calibrated.

    `duplicates` were folded into it by `collapse`. `matched` is what found it: "words", which the fields
    `matched_fields` carry, "meaning", or both; it is empty if the image is only near, and rarely fits.
    """

    id: str
    cosine: float
    relevance: float | None
    metadata: dict[str, Any]
    links: Links
    duplicates: list[DuplicateResponse]
    collection: str
    matched: list[MatchedBy]
    matched_fields: list[str]

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """Describe a hit."""
        return cls(
            id=hit.id,
            cosine=hit.cosine,
            relevance=hit.relevance,
            metadata=hit.metadata,
            links=Links.of(hit.collection, hit.id),
            duplicates=[
                DuplicateResponse(id=one.id, kind=one.kind, collection=one.collection)
                for one in hit.duplicates
            ],
            collection=hit.collection,
            matched=list(hit.matched),
            matched_fields=list(hit.matched_fields),
        )


class FacetValueResponse(BaseModel):
    """A value of a metadata field, and how many of the counted hits have it."""

    value: str | int | float | bool | None
    count: int


class FacetResponse(BaseModel):
    """The most frequent values of a metadata field among the `n_hits` best hits."""

    field: str
    n_hits: int
    values: list[FacetValueResponse] = Field(json_schema_extra={"maxItems": MAX_VALUES})

    @classmethod
    def of(cls, facet: Facet) -> Self:
        """Describe a facet."""
        values = [FacetValueResponse(value=value, count=n) for value, n in facet.values]
        return cls(field=".".join(facet.path), n_hits=facet.n_hits, values=values)


class SearchResponse(BaseModel):
    """Hits, best first or in the requested order. `truncated`: a text of the query was too long and was cut.

    `facets` has those that were asked for, in their order. `collection` is null if several were searched.
    `words_incomplete`: the words of some images are not indexed yet, so that these find no image.
    """

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "model": EXAMPLE_MODEL,
                "collection": "gallery",
                "collections": ["gallery"],
                "hits": [
                    {
                        "id": "cat",
                        "cosine": 0.284,
                        "relevance": 0.93,
                        "metadata": {"title": "cat", "year": 2001},
                        "links": EXAMPLE_LINKS,
                        "duplicates": [{"id": "cat-copy", "kind": "bytes", "collection": "gallery"}],
                        "collection": "gallery",
                        "matched": ["words", "meaning"],
                        "matched_fields": ["title"],
                    }
                ],
                "truncated": False,
                "sorted_all": None,
                "facets": [{"field": "year", "n_hits": 100, "values": [{"value": 2001, "count": 12}]}],
                "words_incomplete": False,
            }
        )
    )

    model: ModelRef
    collection: str | None
    collections: list[str]
    hits: list[HitResponse]
    truncated: bool
    facets: list[FacetResponse]
    words_incomplete: bool
    sorted_all: bool | None = Field(
        description="with `order_by`: false if more hits may fit than were sorted; else null"
    )

    @classmethod
    def of(cls, found: SearchResult) -> Self:
        """Describe what a search found."""
        return cls(
            model=ModelRef.of(found.model),
            collection=found.collections[0] if len(found.collections) == 1 else None,
            collections=found.collections,
            hits=[HitResponse.of(hit) for hit in found.hits],
            truncated=found.truncated,
            facets=[FacetResponse.of(facet) for facet in found.facets],
            words_incomplete=found.words_incomplete,
            sorted_all=found.sorted_all,
        )
