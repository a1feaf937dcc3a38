"""Validate data with pydantic, and turn its errors into one InvalidValue that names the field."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from diptych.errors import InvalidValue
from diptych.http.errors.json_paths import cut, format_path

Model = TypeVar("Model", bound=BaseModel)
_PREFIX = "Value error, "
_MAX_EXCERPT_CHARS = 60


def validated(model: type[Model], data: object, *, strict: bool = True) -> Model:
    """Parse `data` as the model. Raises InvalidValue for the first error.

    `strict` rejects "3" for 3. It is for JSON, which has both types; form fields are text and need
    conversion.
    """
    try:
        return model.model_validate(data, strict=strict)
    except ValidationError as error:
        raise first_invalid(error.errors(include_url=False), data) from None


def first_invalid(details: Sequence[Mapping[str, Any]], data: object) -> InvalidValue:
    """The first of pydantic's error details as an InvalidValue.

    Its `item` is the path up to and including the first index, such as `input[3]`; the message has the rest.
    """
    detail = details[0]
    path, item = _format_paths(_steps_in_data(detail, data))
    message = str(detail["msg"]).removeprefix(_PREFIX)
    if detail["type"] == "extra_forbidden":
        message = "unknown key"
    elif detail["type"] == "too_short":
        message = "at least one item is needed"  # no list of a request needs more
    elif detail["type"] not in {"missing", "value_error"}:
        message = f"{message}, got {_excerpt(detail.get('input'))}"
    within = path.removeprefix(item).lstrip(".")
    return InvalidValue(f"{within}: {message}" if within else message, item)


def _steps_in_data(detail: Mapping[str, Any], data: object) -> list[int | str]:
    """The location without pydantic's names for members of a union, which are not keys of the data."""
    location: Sequence[int | str] = detail["loc"]
    missing = len(location) - 1 if detail["type"] == "missing" else None
    steps: list[int | str] = []
    for i, step in enumerate(location):
        if isinstance(data, dict) and (step in data or i == missing):
            steps.append(step)
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            steps.append(step)
            data = data[step]
        elif isinstance(data, dict) and isinstance(step, int):  # one object instead of a list of it
            steps.append(step)
    return steps


def _format_paths(steps: Sequence[int | str]) -> tuple[str, str]:
    """The whole path, and its part up to and including the first index."""
    first = next((i for i, step in enumerate(steps, start=1) if isinstance(step, int)), len(steps))
    path = format_path(steps) or "body"
    return path, format_path(steps[:first]) or path


def _excerpt(value: object) -> str:
    return cut(repr(value), _MAX_EXCERPT_CHARS)
