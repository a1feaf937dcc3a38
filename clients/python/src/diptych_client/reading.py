"""Read the JSON of the server into typed results.

One reader serves all calls: it follows the fields and type hints of the dataclasses in `results`.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from diptych_client.errors import ClientError, Problem, UnexpectedAnswer, api_error

T = TypeVar("T")
Reader: TypeAlias = Callable[[Any, str], Any]
"""Reads a value. Its second argument is the path of the value in the answer, such as `hits[3].id`."""

JSON_KINDS = {
    dict: "an object", list: "an array", str: "a string", int: "an integer", float: "a number",
    bool: "a boolean", NoneType: "null",
}  # fmt: skip


class _Mismatch(Exception):
    """The answer does not fit the result; the message continues "the answer to ..."."""


def read(kind: type[T], answer: object, request: str, key: str | None = None) -> T:
    """Read an answer, or the value of its `key`, as a dataclass or a list of them.

    Keys without a field are ignored, so that this client works with a newer server. A field whose key is
    missing or null has its default; without one it is None if its type admits None. Any other difference
    raises UnexpectedAnswer, which names the `request` and the field, and shows no value.
    """
    try:
        value = answer if key is None else _required(_checked((dict,), answer, ""), key, key)
        found: T = _reader(kind)(value, key or "")
    except _Mismatch as error:
        raise UnexpectedAnswer(f"the answer to {request} {error}") from error
    return found


def _reader(hint: Any) -> Reader:
    """Return the reader of a type hint. A Literal admits other values too, of a newer server."""
    origin, args = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return partial(_read_object, hint)
    if origin in (tuple, list):
        return partial(_read_array, origin, _reader(args[0]))
    if origin in (dict, Mapping):
        return partial(_read_mapping, _reader(args[1]))
    if origin in (Union, UnionType):
        readers = tuple(_reader(one) for one in args if one is not NoneType)
        return partial(_read_union, readers, NoneType in args)
    return _SCALARS[type(args[0]) if origin is Literal else hint]


class _Field(NamedTuple):
    """How one field of a dataclass is read. Several `keys` lead into nested objects."""

    name: str
    keys: tuple[str, ...]
    reader: Reader
    has_default: bool
    is_optional: bool


@cache
def _fields(kind: Any) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    return tuple(
        _Field(
            field.name,
            field.metadata.get("keys", (field.name,)),
            _reader(hints[field.name]),
            has_default=field.default is not MISSING or field.default_factory is not MISSING,
            is_optional=NoneType in get_args(hints[field.name]),
        )
        for field in fields(kind)
    )


def _read_object(kind: Any, value: Any, path: str) -> Any:
    row = _checked((dict,), value, path)
    values: dict[str, Any] = {}
    for field in _fields(kind):
        found: Any = row
        for key in field.keys:
            found = found.get(key) if isinstance(found, dict) else None
        if found is None and field.has_default:
            continue
        at = f"{path}.{field.name}" if path else field.name
        if found is None and not field.is_optional:
            found = _required(row, field.name, at)
        values[field.name] = field.reader(found, at)
    return kind(**values)


def _required(row: dict[str, Any], key: str, path: str) -> Any:
    if key not in row:
        raise _Mismatch(f"has no {path!r}")
    return row[key]


def _read_array(kind: type[Any], item: Reader, value: Any, path: str) -> Any:
    return kind(item(one, f"{path}[{index}]") for index, one in enumerate(_checked((list,), value, path)))


def _read_mapping(item: Reader, value: Any, path: str) -> dict[str, Any]:
    return {key: item(one, f"{path}.{key}") for key, one in _checked((dict,), value, path).items()}


def _read_union(readers: tuple[Reader, ...], is_optional: bool, value: Any, path: str) -> Any:
    """Read as the first type that fits."""
    if value is None and is_optional:
        return None
    for reader in readers[:-1]:
        with suppress(_Mismatch):
            return reader(value, path)
    return readers[-1](value, path)


def _checked(kinds: tuple[type[Any], ...], value: Any, path: str) -> Any:
    """Return a value that is of one of these kinds of JSON. A boolean is no integer."""
    if type(value) not in kinds:
        where, wanted = repr(path) if path else "it", JSON_KINDS[kinds[-1]]
        raise _Mismatch(
            f"has another shape than expected: {where} is {JSON_KINDS[type(value)]}, must be {wanted}"
        )
    return value


def _read_embedding(value: Any, path: str) -> array[float]:
    """Decode base64 of little-endian float32 numbers into `array('f')` of embed_dim numbers."""
    values = array("f")
    try:
        values.frombytes(b64decode(_checked((str,), value, path), validate=True))
    except ValueError as error:
        raise _Mismatch(f"has another shape than expected: {path!r} is no base64 of float32") from error
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _read_error(value: Any, path: str) -> ClientError:
    """Read a problem as the exception of its status."""
    problem = _checked((dict,), value, path)
    status = _checked((int,), _required(problem, "status", f"{path}.status"), f"{path}.status")
    return api_error(Problem.from_json(problem, status))


_SCALARS: dict[Any, Reader] = {
    str: partial(_checked, (str,)),
    int: partial(_checked, (int,)),
    float: partial(_checked, (int, float)),
    bool: partial(_checked, (bool,)),
    Any: lambda value, path: value,
    array: _read_embedding,
    ClientError: _read_error,
}
