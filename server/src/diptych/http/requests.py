"""What callers may send as JSON, as types; unknown keys are refused. Knows no limit that is a setting.

Lists fail fast: only the first thing wrong is told, and a body may hold a million of them.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from diptych.core.types import SERVER

EncodingFormat = Literal["float", "base64"]
Item = TypeVar("Item", bound=BaseModel)
Element = TypeVar("Element")
Listed = Annotated[list[Element], Field(fail_fast=True)]
MAX_QUERIES = 32


def _without_fraction(value: object) -> object:
    """JSON does not tell 10.0 from 10, and some languages write every number as the former."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_without_fraction)]
_IMAGE = Field(
    None,
    description="data URI, such as data:image/png;base64,..., or an https URL where the server fetches them",
)


class Asked(BaseModel):
    """Base of all requests: a key that is not known is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _one_unknown_key(cls, data: object) -> object:
        """Only the first unknown key stays: each becomes a finding, and a body may hold a million of them."""
        if not isinstance(data, dict):
            known = ", ".join(cls.model_fields)
            raise PydanticCustomError(
                "no_object", "must be an object, its keys are {known}", {"known": known}
            )
        if len(data) <= len(cls.model_fields):
            return data
        unknown = next(key for key in data if key not in cls.model_fields)
        return {key: value for key, value in data.items() if key in cls.model_fields or key == unknown}


class EmbedItem(Asked):
    """One text or one image."""

    text: str | None = None
    image: str | None = _IMAGE

    @model_validator(mode="after")
    def _one(self) -> Self:
        return _exactly_one(self, "text", "image")


class EmbedOptions(Asked):
    """The part of an embedding that is the same in JSON and in a form."""

    encoding_format: EncodingFormat = "float"


class EmbedRequest(EmbedOptions):
    """`POST /embed` as JSON."""

    input: Listed[EmbedItem] = Field(min_length=1)


class ClassifyOptions(Asked):
    """The part of a classification that is the same in JSON and in a form."""

    labels: Listed[str] = Field(min_length=1)
    template: str | None = Field(None, description="one text with one {} where the label goes")
    templates: Listed[str] | str | None = Field(
        None, description="several, or the name of a set: see prompt_sets of the version"
    )
    multi_label: bool = False
    top_k: Whole | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.template is not None and self.templates is not None:
            raise ValueError("give template or templates, not both")
        return self


class ClassifyRequest(ClassifyOptions):
    """`POST /classify` as JSON; images are data URIs, or https URLs where the server fetches them."""

    images: Listed[str] = Field(min_length=1)


class QueryItem(Asked):
    """One text, one image or the id of an image of the collection; a negative weight leads away from it."""

    text: str | None = None
    image: str | None = _IMAGE
    id: str | None = None
    weight: float = 1.0

    @model_validator(mode="after")
    def _one(self) -> Self:
        return _exactly_one(self, "text", "image", "id")


class SearchOptions(Asked):
    """The part of a search that is the same in JSON, in a form and in a query string."""

    k: Whole = Field(10, ge=1)
    offset: Whole = Field(0, ge=0)
    collection: str | None = None
    exact: bool = False
    min_relevance: float | None = Field(None, ge=0, le=1)


def _as_list(query: object) -> object:
    if not isinstance(query, dict | list):
        message = 'must be an object such as {"text": "a red car"}, or a list of them'
        raise PydanticCustomError("no_query", message)
    return [query] if isinstance(query, dict) else query


class SearchRequest(SearchOptions):
    """`POST /search` as JSON."""

    query: Annotated[
        Listed[QueryItem], BeforeValidator(_as_list, json_schema_input_type=QueryItem | list[QueryItem])
    ]
    filter: dict[str, Any] | None = None


class SearchQuery(SearchOptions):
    """`GET /search`."""

    q: str = Field(description="the text to look for")
    filter: str | None = Field(None, description="the filter as JSON")


class CollectionRequest(Asked):
    """`POST /collections`."""

    name: str
    keep: Literal["original", "none"] = Field(
        "original", description="none: image files are not kept, so that they cannot be embedded again"
    )
    precision: str = Field(
        SERVER, description="of its vectors and queries; server: that which the server has for collections"
    )


class CollectionPatch(Asked):
    """`PATCH` of a collection: what is not given stays."""

    name: str | None = Field(None, description="its new name")
    keep: Literal["original", "none"] | None = Field(
        None, description="for images that are added from now on; those that are there stay as they are"
    )
    precision: str | None = Field(
        None,
        description="of its vectors and queries, or server; kept images are embedded again for it, also when "
        "it is the same and that has failed",
    )


class DeletionRequest(Asked):
    """`POST /collections/{collection}/deletions`: a filter, `lacking`, or both, which must both hold."""

    filter: dict[str, Any] | None = Field(None, description="on metadata, as in a search")
    lacking: bool = Field(False, description="images that have no vector of the served version")
    preview: bool = Field(False, description="delete nothing, tell how many it would be and the first ids")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.filter is None and not self.lacking:
            raise ValueError("give a filter, or lacking: true; to delete all images, drop the collection")
        return self


class LookupRequest(Asked):
    """`POST /collections/{collection}/lookups`."""

    ids: Listed[str]


class AddItem(Asked):
    """One entry of the `items` field of an add."""

    id: str | None = None
    metadata: dict[str, Any] | None = None


class AddItems(Asked):
    """The `items` field of an add, in the order of its `image` parts."""

    items: Listed[AddItem]


class VectorModel(Asked):
    """What made ready-made vectors; the `model` of an answer of `/embed` has all of it."""

    name: str
    version: Whole = Field(ge=1)
    precision: str | None = None
    decode: Literal["exact", "fast"] | None = None
    identity: str | None = Field(None, max_length=128)  # as exported files have it


class VectorItem(Asked):
    """One ready-made vector of unit norm: numbers, or base64 of little-endian float32."""

    embedding: Listed[float] | str
    id: str | None = None
    metadata: dict[str, Any] | None = None


class AddVectorsRequest(Asked):
    """`POST /collections/{collection}/vectors` as JSON."""

    model: VectorModel
    items: Listed[VectorItem] = Field(min_length=1)


class PatchRequest(Asked):
    """`PATCH` of an image: a merge patch (RFC 7396) of its metadata, null removes a key."""

    metadata: dict[str, Any]


class OpenAIEmbeddingRequest(Asked):
    """`POST /v1/embeddings`."""

    input: str | Listed[str]
    model: str
    encoding_format: EncodingFormat = "float"
    dimensions: Whole | None = Field(None, ge=1)
    user: str | None = None


def _exactly_one(item: Item, *names: str) -> Item:
    given = [name for name in names if getattr(item, name) is not None]
    if len(given) != 1:
        found = f"got {' and '.join(given)}" if given else "got none"
        raise ValueError(f"needs exactly one of {', '.join(names)}, {found}")
    return item
