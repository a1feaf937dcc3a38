"""The request of `/search`: the models of a JSON body, a query string and a form."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from diptych.bundle.calibration import RECOMMENDED_RELEVANCE
from diptych.core.collections.metadata.ordering import Direction
from diptych.core.collections.ranking.fusion import Match
from diptych.core.collections.search import MAX_COLLECTIONS, MAX_SORTED
from diptych.http.parsing import schemas
from diptych.http.parsing.request_models import (
    DIRECTION_FIELD,
    IMAGE_FIELD,
    FailFastList,
    FilterObject,
    ImageUri,
    RequestModel,
    WholeNumber,
    require_exactly_one,
)

MAX_QUERIES = 32
MAX_FACETS = 8
ALL_COLLECTIONS = "*"
QueryText = Annotated[str, WithJsonSchema(schemas.QUERY_TEXT)]
_COLLECTIONS: schemas.Schema = {"minItems": 1, "maxItems": MAX_COLLECTIONS, "items": schemas.STRING}
_ORDER = (
    f"sort the hits that may fit, at most the {MAX_SORTED:,} best, by this metadata field; a 422 if "
    "relevance is unknown"
)
_FACETS: schemas.Schema = {"maxItems": MAX_FACETS, "items": {"type": "string", "pattern": schemas.PATH}}


class QueryItem(RequestModel):
    """One text, image, or id of an image in the collection, which is itself no hit.

    A negative weight searches for its opposite. An id needs `collection` when several are searched.
    """

    model_config = ConfigDict(
        json_schema_extra=schemas.any_rule(
            schemas.exactly_one("text", "image", without=["collection"]), schemas.exactly_one("id")
        )
    )

    text: QueryText | None = None
    image: ImageUri | None = IMAGE_FIELD
    id: str | None = None
    collection: str | None = Field(None, description="the collection of the image with this id")
    weight: float = Field(1.0, json_schema_extra={"not": {"const": 0}})

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.collection is not None and self.id is None:
            raise ValueError("collection is given only with an id")
        return require_exactly_one(self, "text", "image", "id")


def _one_error(value: object, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise PydanticCustomError(
            "collapse", 'must be "bytes", "picture" or a cosine above 0, at most 1'
        ) from None


class SearchOptions(RequestModel):
    """Options of `/search`, in JSON, in a form and in a query string."""

    k: WholeNumber = Field(10, ge=1, json_schema_extra=schemas.limited(maximum="max_k"))
    offset: WholeNumber = Field(0, ge=0, json_schema_extra=schemas.limited(maximum="max_offset"))
    collection: str | None = None
    collections: FailFastList[str] = Field(
        default_factory=list,  # an empty list in a request is an error
        min_length=1,
        description='instead of `collection`: several of one model and version, or ["*"] for all',
        json_schema_extra=_COLLECTIONS,
    )
    exact: bool = False
    min_relevance: float | None = Field(
        None,
        ge=0,
        le=1,
        description=f"leave out hits with less relevance, such as {RECOMMENDED_RELEVANCE}; "
        "a 422 if it is unknown",
    )
    collapse: Annotated[
        Literal["bytes", "picture"] | Annotated[float, Field(gt=0, le=1)] | None,
        WrapValidator(_one_error),
        Field(
            description="fold images with the same bytes, of the same picture, or with at least this cosine, "
            "into the best"
        ),
    ] = None
    match: Match = Field(
        "meaning",
        description="what finds hits: the meaning of the query, the words of its one text in names and "
        "metadata, or both",
    )
    facets: FailFastList[str] = Field(
        [],
        description="metadata fields whose values are counted among the best hits, as many as `k` may be",
        json_schema_extra=_FACETS,
    )


class FlatOptions(SearchOptions):
    """Options of `/search` in a form and in a query string."""

    order_by: Annotated[str | None, WithJsonSchema(schemas.PATH_TEXT)] = Field(None, description=_ORDER)
    direction: Direction | None = DIRECTION_FIELD


class OrderByItem(RequestModel):
    """A metadata field, and whether its smallest values come first or its largest ones."""

    field: Annotated[str, WithJsonSchema(schemas.PATH_TEXT)]
    direction: Direction = "asc"


_Queries = Annotated[list[QueryItem], Field(min_length=1, max_length=MAX_QUERIES)]


def _as_list(query: object) -> object:
    if not isinstance(query, dict | list):
        message = 'must be an object such as {"text": "a red car"}, or a list of them'
        raise PydanticCustomError("no_query", message)
    return [query] if isinstance(query, dict) else query


class SearchRequest(SearchOptions):
    """`POST /search` as JSON."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {"query": {"text": "a black cat"}, "k": 5, "filter": {"year": {"gte": 2000}}},
            {"query": [{"text": "a cat"}, {"text": "a drawing", "weight": -0.5}], "facets": ["year"]},
            {"query": {"image": schemas.EXAMPLE_URI}, "k": 5},
            {"query": {"text": "grandma 1987"}, "match": "both"},
            {
                "query": {"text": "grandma"},
                "match": "words",
                "order_by": {"field": "exif.taken_at", "direction": "desc"},
            },
        )
    )

    query: Annotated[
        FailFastList[QueryItem], BeforeValidator(_as_list, json_schema_input_type=QueryItem | _Queries)
    ]
    filter: FilterObject | None = None
    order_by: OrderByItem | None = Field(None, description=_ORDER)


class SearchQuery(FlatOptions):
    """`GET /search`."""

    q: QueryText = Field(description="the text to look for")
    filter: Annotated[str | None, WithJsonSchema(schemas.FILTER_TEXT)] = Field(
        None, description="the filter as JSON"
    )


_QUERIES: schemas.Schema = {"type": "array", "minItems": 1, "maxItems": MAX_QUERIES}
SEARCH_FORM = schemas.form(
    {
        "image": {**_QUERIES, "items": schemas.FILE},
        "text": {**_QUERIES, "items": schemas.QUERY_TEXT},
        "k": {"type": "integer", "minimum": 1, **schemas.limited(maximum="max_k")},
        "offset": {"type": "integer", "minimum": 0, **schemas.limited(maximum="max_offset")},
        "filter": schemas.json_field(schemas.ref("Filter"), "on metadata"),
        "collection": schemas.STRING,
        "collections": {"type": "array", **_COLLECTIONS},
        "exact": {"type": "boolean"},
        "min_relevance": {"type": "number", "minimum": 0, "maximum": 1},
        "match": {"enum": list(get_args(Match))},
        "facets": {"type": "array", **_FACETS},
        "order_by": schemas.PATH_TEXT,
        "direction": {"enum": list(get_args(Direction))},
        "collapse": {
            "anyOf": [{"enum": ["bytes", "picture"]}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}]
        },
    },
    anyOf=[{"required": ["image"]}, {"required": ["text"]}],
    examples=[
        {"text": ["a black cat"], "image": [schemas.EXAMPLE_FILE], "k": 5, "filter": {"year": {"gte": 2000}}}
    ],
)
