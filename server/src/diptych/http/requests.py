"""What callers may send as JSON, as types; unknown keys are refused. Knows no limit that is a setting.

Lists fail fast: only the first thing wrong is told, and a body may hold a million of them.
"""

from typing import Annotated, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from diptych.http.parsing import schemas
from diptych.http.parsing.request_models import (
    IMAGE_FIELD,
    EncodingFormat,
    FilterObject,
    ImageUri,
    Listed,
    Positive,
    RequestModel,
    Whole,
    require_exactly_one,
)

MAX_QUERIES = 32
Text = Annotated[str, WithJsonSchema(schemas.TEXT)]
QueryText = Annotated[str, WithJsonSchema(schemas.QUERY_TEXT)]
Labels = Annotated[Listed[str], Field(min_length=1), WithJsonSchema(schemas.LABELS)]
Template = Annotated[str, WithJsonSchema(schemas.TEMPLATE)]
Templates = Annotated[Listed[str], WithJsonSchema(schemas.TEMPLATES)]
TemplateSet = Annotated[str, WithJsonSchema(schemas.TEMPLATE_SET)]


class EmbedItem(RequestModel):
    """One text or one image."""

    model_config = ConfigDict(json_schema_extra=schemas.exactly_one("text", "image"))

    text: Text | None = None
    image: ImageUri | None = IMAGE_FIELD

    @model_validator(mode="after")
    def _one(self) -> Self:
        return require_exactly_one(self, "text", "image")


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
    image: ImageUri | None = IMAGE_FIELD
    id: str | None = None
    weight: float = Field(1.0, json_schema_extra={"not": {"const": 0}})

    @model_validator(mode="after")
    def _one(self) -> Self:
        return require_exactly_one(self, "text", "image", "id")


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
