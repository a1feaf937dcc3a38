"""The base class of recipe tables and stored records, and the number types that they share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, LiteralString, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from diptych.errors import DiptychError

Tables = dict[str, Any]


Probability = Annotated[float, Field(ge=0, le=1)]


Share = Annotated[float, Field(ge=0)]


# Keys in the context of an error that a table raises: the name of the faulty key, and its value.
KEY, VALUE = "key", "value"
NO_NUMBER: LiteralString = "must be a number"


class Frozen(BaseModel):
    """Base of immutable tables. Rejects unknown keys, numbers that are not finite, and booleans in place of
    numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_flag_for_a_number(cls, values: Any) -> Any:
        refuse_flags(cls, values)
        return values


Record = TypeVar("Record", bound=Frozen)


def find_record(file: Path, kind: type[Record]) -> Record | None:
    """The record in a JSON file; None if there is none, or one of another form."""
    try:
        return kind.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def read_record(file: Path, kind: type[Record], error: type[DiptychError], advice: str = "") -> Record:
    """The record in a JSON file. Raises `error` naming file and key."""
    try:
        return kind.model_validate_json(file.read_bytes())
    except OSError as failed:
        raise error(f"{file}: cannot be read: {failed.strerror}") from failed
    except ValidationError as failed:
        first = failed.errors()[0]
        key = ".".join(map(str, first["loc"])) or "(whole file)"
        raise error(f"{file}: {key}: {first['msg']}{advice}") from failed


def refuse_flags(table: type[BaseModel], values: object) -> None:
    """Raise an error for true and false where a table takes numbers: pydantic would accept true as 1."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if key not in table.model_fields:
            continue
        kinds = leaf_types(table.model_fields[key].annotation)
        if bool in kinds or not kinds & {int, float}:
            continue
        if any(isinstance(one, bool) for one in _values_in(value)):
            raise PydanticCustomError("flag", NO_NUMBER, {KEY: key, VALUE: value})


def leaf_types(annotation: object) -> set[object]:
    """The types in an annotation: ``dict[str, int | None]`` has str, int and None's type."""
    parts = get_args(annotation)
    return set().union(*map(leaf_types, parts)) if parts else {annotation}


def _values_in(value: object) -> list[object]:
    """The values in a list or table, or the value itself."""
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]
