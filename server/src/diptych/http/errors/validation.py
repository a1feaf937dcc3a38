"""Turn pydantic's findings into one InvalidValue that names the field. Knows no field of its own."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from diptych.errors import InvalidValue
from diptych.http.errors.json_paths import cut, spelled

Asked = TypeVar("Asked", bound=BaseModel)
_PREFIX = "Value error, "
_MAX_SHOWN_CHARS = 60


def validated(model: type[Asked], data: object, *, strict: bool = True) -> Asked:
    """`data` as the model, or InvalidValue for the first thing wrong with it.

    `strict` refuses "3" for 3, as JSON can tell them apart; form fields cannot, and are read leniently.
    """
    try:
        return model.model_validate(data, strict=strict)
    except ValidationError as error:
        raise first_invalid(error.errors(include_url=False), data) from None


def first_invalid(findings: Sequence[Mapping[str, Any]], data: object) -> InvalidValue:
    """The first finding as an error; `item` is the path up to and with its first index (`input[3]`)."""
    finding = findings[0]
    path, item = _spell(_inside(finding["loc"], data))
    message = str(finding["msg"]).removeprefix(_PREFIX)
    if finding["type"] == "extra_forbidden":
        message = "no such key is known here"
    elif finding["type"] not in {"missing", "value_error"}:
        message = f"{message}, got {_shown(finding.get('input'))}"
    return InvalidValue(message if path == item else f"{path}: {message}", item)


def _inside(location: Sequence[int | str], data: object) -> list[int | str]:
    """The location without pydantic's names for the members of a union, which are not in the data."""
    steps: list[int | str] = []
    for i, step in enumerate(location):
        last = i == len(location) - 1
        if isinstance(data, dict) and (step in data or last):
            steps.append(step)
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            steps.append(step)
            data = data[step]
    return steps


def _spell(steps: Sequence[int | str]) -> tuple[str, str]:
    """The whole path, and the part of it up to and with its first index."""
    first = next((i for i, step in enumerate(steps, start=1) if isinstance(step, int)), len(steps))
    path = spelled(steps) or "body"
    return path, spelled(steps[:first]) or path


def _shown(value: object) -> str:
    return cut(repr(value), _MAX_SHOWN_CHARS)
