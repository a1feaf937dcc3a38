"""What callers may send as JSON, as types; unknown keys are refused. Knows no limit that is a setting.

Lists fail fast: only the first thing wrong is told, and a body may hold a million of them.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from diptych.core.collections.metadata import MAX_DEPTH
from diptych.core.collections.originals import THUMBNAIL_SIZES_PX
from diptych.core.types import SERVER
from diptych.http.parsing import schemas

EncodingFormat = Literal["float", "base64"]
Item = TypeVar("Item", bound=BaseModel)
Element = TypeVar("Element")
Listed = Annotated[list[Element], Field(fail_fast=True)]
MAX_QUERIES = 32
MAX_INDEX = 999_999_999  # of an item: far beyond any job, and within what the database takes


def _without_fraction(value: object) -> object:
    """JSON does not tell 10.0 from 10, and some languages write every number as the former."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_without_fraction)]
Positive = Annotated[int, Field(ge=1), BeforeValidator(_without_fraction)]
Text = Annotated[str, WithJsonSchema(schemas.TEXT)]
QueryText = Annotated[str, WithJsonSchema(schemas.QUERY_TEXT)]
OpenAIText = Annotated[str, WithJsonSchema(schemas.NO_IMAGE)]
OpenAITexts = Annotated[
    Listed[str], WithJsonSchema(schemas.some(schemas.NO_IMAGE, limit="max_openai_inputs"))
]
ImageUri = Annotated[str, WithJsonSchema(schemas.IMAGE_URI)]
Labels = Annotated[Listed[str], Field(min_length=1), WithJsonSchema(schemas.LABELS)]
Template = Annotated[str, WithJsonSchema(schemas.TEMPLATE)]
Templates = Annotated[Listed[str], WithJsonSchema(schemas.TEMPLATES)]
TemplateSet = Annotated[str, WithJsonSchema(schemas.TEMPLATE_SET)]
Precision = Annotated[str, WithJsonSchema(schemas.PRECISION)]
CollectionName = Annotated[str, WithJsonSchema(schemas.COLLECTION_NAME)]
ImageId = Annotated[str, WithJsonSchema(schemas.ID)]
FilterObject = Annotated[dict[str, Any], WithJsonSchema(schemas.ref("Filter"))]
_METADATA = f"at most 16,384 bytes as JSON, nested at most {MAX_DEPTH} deep"
_IMAGE = Field(
    None,
    description="data URI, such as data:image/png;base64,..., or an https URL where the server fetches them",
)


class RequestModel(BaseModel):
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


class EmbedItem(RequestModel):
    """One text or one image."""

    model_config = ConfigDict(json_schema_extra=schemas.exactly_one("text", "image"))

    text: Text | None = None
    image: ImageUri | None = _IMAGE

    @model_validator(mode="after")
    def _one(self) -> Self:
        return _exactly_one(self, "text", "image")


class EmbedOptions(RequestModel):
    """The part of an embedding that is the same in JSON and in a form."""

    encoding_format: EncodingFormat = "float"


class EmbedRequest(EmbedOptions):
    """`POST /embed` as JSON."""

    input: Listed[EmbedItem] = Field(min_length=1, json_schema_extra=schemas.limited(maxItems="max_items"))


class ClassifyOptions(RequestModel):
    """The part of a classification that is the same in JSON and in a form."""

    model_config = ConfigDict(json_schema_extra=schemas.ONE_KIND_OF_TEMPLATES)

    labels: Labels
    template: Template | None = Field(None, description="one text with one {} where the label goes")
    templates: Templates | TemplateSet | None = Field(
        None, description="several, or the name of a set: see prompt_sets of the version"
    )
    multi_label: bool = False
    top_k: Positive | None = None

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.template is not None and self.templates is not None:
            raise ValueError("give template or templates, not both")
        return self


class ClassifyRequest(ClassifyOptions):
    """`POST /classify` as JSON; images are data URIs, or https URLs where the server fetches them."""

    images: Listed[ImageUri] = Field(min_length=1, json_schema_extra=schemas.limited(maxItems="max_items"))


class QueryItem(RequestModel):
    """One text, one image or the id of an image of the collection; a negative weight leads away from it."""

    model_config = ConfigDict(json_schema_extra=schemas.exactly_one("text", "image", "id"))

    text: QueryText | None = None
    image: ImageUri | None = _IMAGE
    id: str | None = None
    weight: float = Field(1.0, json_schema_extra={"not": {"const": 0}})

    @model_validator(mode="after")
    def _one(self) -> Self:
        return _exactly_one(self, "text", "image", "id")


class SearchOptions(RequestModel):
    """The part of a search that is the same in JSON, in a form and in a query string."""

    k: Whole = Field(10, ge=1, json_schema_extra=schemas.limited(maximum="max_k"))
    offset: Whole = Field(0, ge=0, json_schema_extra=schemas.limited(maximum="max_offset"))
    collection: str | None = None
    exact: bool = False
    min_relevance: Annotated[
        float | None,
        Field(ge=0, le=1, description="relevance is not calibrated yet: a bound on it is a 422"),
        WithJsonSchema({"type": "null"}),
    ] = None


_Queries = Annotated[list[QueryItem], Field(min_length=1, max_length=MAX_QUERIES)]


def _as_list(query: object) -> object:
    if not isinstance(query, dict | list):
        message = 'must be an object such as {"text": "a red car"}, or a list of them'
        raise PydanticCustomError("no_query", message)
    return [query] if isinstance(query, dict) else query


class SearchRequest(SearchOptions):
    """`POST /search` as JSON."""

    query: Annotated[
        Listed[QueryItem], BeforeValidator(_as_list, json_schema_input_type=QueryItem | _Queries)
    ]
    filter: FilterObject | None = None


class SearchQuery(SearchOptions):
    """`GET /search`."""

    q: QueryText = Field(description="the text to look for")
    filter: Annotated[str | None, WithJsonSchema(schemas.FILTER_TEXT)] = Field(
        None, description="the filter as JSON"
    )


class _NoParameters(RequestModel):
    """A query string that says nothing."""


class _Add(RequestModel):
    """`POST` of images or vectors."""

    replace: bool = False


class _Images(RequestModel):
    """`GET` of the images of a collection."""

    after: str | None = None
    limit: int = Field(100, ge=1, json_schema_extra=schemas.limited(maximum="max_page_items"))


class _Events(RequestModel):
    """`GET` of the events of a job."""

    after: int = Field(-1, ge=-1, le=MAX_INDEX)


class _Outcomes(_Events):
    """`GET` of the outcomes of a job."""

    limit: int = Field(100, ge=1, json_schema_extra=schemas.limited(maximum="max_page_items"))


class _Thumbnail(RequestModel):
    """`GET` of a thumbnail."""

    size: int = Field(256, json_schema_extra={"enum": list(THUMBNAIL_SIZES_PX)})


NoQuery = Annotated[_NoParameters, Query()]
AddQuery = Annotated[_Add, Query()]
ImagesQuery = Annotated[_Images, Query()]
EventsQuery = Annotated[_Events, Query()]
OutcomesQuery = Annotated[_Outcomes, Query()]
ThumbnailQuery = Annotated[_Thumbnail, Query()]


class CollectionRequest(RequestModel):
    """`POST /collections`."""

    name: CollectionName
    keep: Literal["original", "none"] = Field(
        "original", description="none: image files are not kept, so that they cannot be embedded again"
    )
    precision: Precision = Field(
        SERVER, description="of its vectors and queries; server: that which the server has for collections"
    )


class CollectionPatch(RequestModel):
    """`PATCH` of a collection: what is not given stays."""

    name: CollectionName | None = Field(None, description="its new name")
    keep: Literal["original", "none"] | None = Field(
        None, description="for images that are added from now on; those that are there stay as they are"
    )
    precision: Precision | None = Field(
        None,
        description="of its vectors and queries, or server; kept images are embedded again for it, also when "
        "it is the same and that has failed",
    )


class DeletionRequest(RequestModel):
    """`POST /collections/{collection}/deletions`: a filter, `lacking`, or both, which must both hold."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["filter"], "properties": {"filter": {"type": "object"}}},
                {"required": ["lacking"], "properties": {"lacking": {"const": True}}},
            ]
        }
    )

    filter: FilterObject | None = Field(None, description="on metadata, as in a search")
    lacking: bool = Field(False, description="images that have no vector of the served version")
    preview: bool = Field(False, description="delete nothing, tell how many it would be and the first ids")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.filter is None and not self.lacking:
            raise ValueError("give a filter, or lacking: true; to delete all images, drop the collection")
        return self


class LookupRequest(RequestModel):
    """`POST /collections/{collection}/lookups`."""

    ids: Listed[str] = Field(json_schema_extra=schemas.limited(maxItems="max_page_items"))


class AddItem(RequestModel):
    """One entry of the `items` field of an add."""

    id: ImageId | None = None
    metadata: dict[str, Any] | None = Field(None, description=_METADATA)


class AddItems(RequestModel):
    """The `items` field of an add, in the order of its `image` parts."""

    items: Listed[AddItem]


class VectorModel(RequestModel):
    """What made ready-made vectors; the `model` of an answer of `/embed` has all of it."""

    name: str
    version: Whole = Field(ge=1)
    precision: str | None = None
    decode: Literal["exact", "fast"] | None = None
    identity: str | None = Field(None, max_length=128)  # as exported files have it


class VectorItem(RequestModel):
    """One ready-made vector of unit norm: numbers, or base64 of little-endian float32."""

    embedding: Listed[float] | str
    id: ImageId | None = None
    metadata: dict[str, Any] | None = Field(None, description=_METADATA)


class AddVectorsRequest(RequestModel):
    """`POST /collections/{collection}/vectors` as JSON."""

    model: VectorModel
    items: Listed[VectorItem] = Field(
        min_length=1, json_schema_extra=schemas.limited(maxItems="max_add_vectors")
    )


class PatchRequest(RequestModel):
    """`PATCH` of an image: a merge patch (RFC 7396) of its metadata, null removes a key."""

    metadata: dict[str, Any] = Field(description=_METADATA)


class OpenAIEmbeddingRequest(RequestModel):
    """`POST /v1/embeddings`."""

    input: OpenAIText | OpenAITexts
    model: str
    encoding_format: EncodingFormat = "float"
    dimensions: Positive | None = None
    user: str | None = None


def _exactly_one(item: Item, *names: str) -> Item:
    given = [name for name in names if getattr(item, name) is not None]
    if len(given) != 1:
        found = f"got {' and '.join(given)}" if given else "got none"
        raise ValueError(f"needs exactly one of {', '.join(names)}, {found}")
    return item
