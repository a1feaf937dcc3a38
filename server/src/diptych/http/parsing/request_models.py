"""Base class of request bodies and query strings, and the field types that several endpoints share.

Unknown keys are refused. Validation of a list stops at the first error: a body may hold a million of them.
"""

from typing import Annotated, Any, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from diptych.core.collections.metadata.checks import MAX_DEPTH
from diptych.core.collections.metadata.filter_parser import parse_path
from diptych.core.collections.metadata.ordering import Direction, OrderBy
from diptych.errors import InvalidValue
from diptych.http.parsing import schemas

EncodingFormat = Literal["float", "base64"]
Item = TypeVar("Item", bound=BaseModel)
Element = TypeVar("Element")
FailFastList = Annotated[list[Element], Field(fail_fast=True)]


def _without_fraction(value: object) -> object:
    """Accept 10.0 for 10: JSON has one number type, and some languages write all numbers with a fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WholeNumber = Annotated[int, BeforeValidator(_without_fraction)]
NonNegativeInt = Annotated[int, Field(ge=0), BeforeValidator(_without_fraction)]
PositiveInt = Annotated[int, Field(ge=1), BeforeValidator(_without_fraction)]
ImageUri = Annotated[str, WithJsonSchema(schemas.IMAGE_URI)]
Precision = Annotated[str, Field(min_length=1), WithJsonSchema(schemas.PRECISION)]
CollectionName = Annotated[str, WithJsonSchema(schemas.COLLECTION_NAME)]
ImageId = Annotated[str, WithJsonSchema(schemas.ID)]
FilterObject = Annotated[dict[str, Any], WithJsonSchema(schemas.ref("Filter"))]
METADATA_RULES = (
    f"at most 16,384 bytes as JSON, nested at most {MAX_DEPTH} deep; `file` and `exif` are reserved names"
)
IMAGE_FIELD = Field(
    None,
    description="data URI, such as data:image/png;base64,..., or an https URL where the server fetches them",
)

DIRECTION_FIELD: Any = Field(
    None, description="desc: the largest values and the latest dates first; only with `order_by`, else asc"
)


class RequestModel(BaseModel):
    """Base of all request models: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _one_unknown_key(cls, data: object) -> object:
        """Keep only the first unknown key.

        Each costs an error object, and a body may hold a million of them.
        """
        if not isinstance(data, dict):
            known = ", ".join(cls.model_fields)
            raise PydanticCustomError(
                "no_object", "must be an object, its keys are {known}", {"known": known}
            )
        if len(data) <= len(cls.model_fields):
            return data
        unknown = next(key for key in data if key not in cls.model_fields)
        return {key: value for key, value in data.items() if key in cls.model_fields or key == unknown}


class _NoParameters(RequestModel):
    """A query string without parameters."""


NoQuery = Annotated[_NoParameters, Query()]


def parse_order(field: str | None, direction: Direction | None) -> OrderBy | None:
    """The order that two parameters ask for.

    Raises InvalidValue for a direction without a field, and for JSON, which a body alone takes.
    """
    if field is None:
        if direction is not None:
            raise InvalidValue("direction is given only with order_by", "direction")
        return None
    if field.startswith("{"):
        message = (
            "takes the name of a field here, as in order_by=FIELD&direction=desc; JSON is for a JSON body"
        )
        raise InvalidValue(message, "order_by")
    return OrderBy(parse_path(field, "order_by"), direction or "asc")


def require_exactly_one(item: Item, *names: str) -> Item:
    """The item itself. ValueError unless exactly one of the named attributes is set."""
    given = [name for name in names if getattr(item, name) is not None]
    if len(given) != 1:
        found = f"got {' and '.join(given)}" if given else "got none"
        raise ValueError(f"needs exactly one of {', '.join(names)}, {found}")
    return item
