"""The base of all tables of a recipe; knows none of them."""

from collections.abc import Mapping
from typing import Annotated, Any, LiteralString, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Tables = dict[str, Any]


Probability = Annotated[float, Field(ge=0, le=1)]


Share = Annotated[float, Field(ge=0)]


# In the context of an error that a whole table raises: which of its keys it is about, and what that is.
KEY, VALUE = "key", "value"
NO_NUMBER: LiteralString = "must be a number"


class Frozen(BaseModel):
    """Immutable; an unknown key is an error that names it, and so is a number that is not finite, or a flag
    where a number belongs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_flag_for_a_number(cls, values: Any) -> Any:
        refuse_flags(cls, values)
        return values


def refuse_flags(table: type[BaseModel], values: object) -> None:
    """Refuse true and false where a table's keys take numbers: pydantic takes true for 1, as Python does."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if key not in table.model_fields:
            continue
        kinds = leaf_types(table.model_fields[key].annotation)
        if bool in kinds or not kinds & {int, float}:
            continue
        if any(isinstance(one, bool) for one in _values_in(value)):
            raise PydanticCustomError("flag", NO_NUMBER, {KEY: key, VALUE: value})


def leaf_types(annotation: object) -> set[object]:
    """The types that an annotation is made of: ``dict[str, int | None]`` has str, int and None's."""
    parts = get_args(annotation)
    return set().union(*map(leaf_types, parts)) if parts else {annotation}


def _values_in(value: object) -> list[object]:
    """What a value is, or holds as a list or a table."""
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]
