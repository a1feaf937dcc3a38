"""Parse JSON strictly: reject invalid syntax, values that JSON does not have, and too many values."""

import asyncio
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import NoReturn, TypeVar

from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.core.collections.metadata.filters import Filter
from diptych.errors import InvalidValue, Malformed, TooLarge
from diptych.http.errors.json_paths import format_path

MAX_VALUES = 2_000_000  # an empty list is 3 bytes of a body and 20 times that in memory
MAX_KEYS = 200_000  # each unknown key costs an error object, although one is reported
MAX_DIGITS = 309  # of an integer: more exceed a double, and parsing takes quadratic time
MAX_BYTES_ON_LOOP = 100_000  # parsed in a millisecond or two
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # a string, also one that does not end
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

Read = TypeVar("Read")


async def read_json(body: bytearray, read: Callable[[bytearray], Read]) -> Read:
    """Return `read(body)`. A large body is read in a thread, so that it does not block other requests."""
    return read(body) if len(body) <= MAX_BYTES_ON_LOOP else await asyncio.to_thread(read, body)


def parse_json(
    payload: bytes | bytearray | str, item: str | None = None, *, max_keys: int = MAX_KEYS
) -> object:
    """Parse a JSON text. `item` names the text in errors; None stands for the whole body.

    Raises Malformed if it is not UTF-8, not JSON, or nested too deeply for the parser. Raises InvalidValue
    for NaN, Infinity, numbers beyond a double, and lone surrogates (which UTF-8 cannot encode). Raises
    TooLarge for more values or keys than any request needs; it counts the characters outside of strings that
    begin or separate them.
    """
    try:
        text = payload if isinstance(payload, str) else payload.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"JSON must be UTF-8, byte {error.start} is not", item) from None
    _check_counts(text, max_keys, item)
    try:
        value, refused = _loads(text)
        if _SURROGATE_ESCAPE.search(text):  # checked first, as the path in the other error might contain it
            message = "text has a lone surrogate, which is not a character"
            _refuse_first(value, _is_lone_surrogate, message, item)
        if refused is not None:
            _refuse_first(value, _is_refused, refused, item)
            raise InvalidValue(refused, item)  # a repeated key: the parsed object has only its last value
    except RecursionError:
        raise Malformed("JSON is nested too deeply", item) from None
    except ValueError as error:  # JSONDecodeError, and integers of too many digits
        raise Malformed(f"not JSON: {error}", item) from None
    return value


def filter_of_query(text: str | None) -> Filter | None:
    """The `filter` of a query string, which is JSON. Raises as `parse_json` and `parse_filter`."""
    return None if text is None else parse_filter(parse_json(text, "filter"))


class _Refused(str):
    """A number that JSON does not have, as it was written."""


def _loads(text: str) -> tuple[object, str | None]:
    """The parsed value, and the message about the first number that JSON does not have, if any.

    Such a number is a _Refused in the value, so that its path can be found. The text is parsed a second time
    for that, as valid texts need no path.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole), None
    except InvalidValue as error:
        found = json.loads(
            text, parse_constant=_Refused, parse_float=_finite_or_refused, parse_int=_whole_or_refused
        )
        return found, error.message


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidValue(f"{name} is not a JSON number")


def _finite_or_refused(digits: str) -> float | _Refused:
    value = float(digits)
    return value if math.isfinite(value) else _Refused(digits)


def _check_counts(text: str, max_keys: int, item: str | None) -> None:
    bounds = (("values", ",[{", MAX_VALUES), ("keys", ":", max_keys))
    if all(len(text) <= most or _count(signs, text) <= most for _, signs, most in bounds):
        return  # counting inside of strings too is enough for short texts, and for a photograph in base64
    bare = _STRING.sub("", text)
    for name, signs, most in bounds:
        if _count(signs, bare) > most:
            raise TooLarge(f"JSON has over {most} {name}", item)


def _count(signs: str, text: str) -> int:
    return sum(map(text.count, signs))


def _whole_or_refused(digits: str) -> int | _Refused:
    return _Refused(digits) if _is_beyond_double(digits) else int(digits)


def _whole(digits: str) -> int:
    if _is_beyond_double(digits):
        raise InvalidValue(f"an integer of {len(digits)} digits is beyond the range of a double")
    return int(digits)


def _is_beyond_double(digits: str) -> bool:
    n_digits = len(digits.removeprefix("-"))
    return n_digits > MAX_DIGITS or (n_digits == MAX_DIGITS and not math.isfinite(float(digits)))


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidValue(f"{digits[:40]} is beyond the range of a double")
    return value


def _refuse_first(value: object, is_wrong: Callable[[object], bool], message: str, item: str | None) -> None:
    """Raises InvalidValue that names the first value for which `is_wrong` holds, if there is one."""
    path_steps = _path_to_first(value, is_wrong)
    if path_steps is not None:
        path = format_path([*([item] if item else []), *reversed(path_steps)])
        raise InvalidValue(message, path or None)


def _is_lone_surrogate(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_SURROGATE.search, value))
    return isinstance(value, str) and _SURROGATE.search(value) is not None


def _is_refused(value: object) -> bool:
    return isinstance(value, _Refused)


def _path_to_first(value: object, is_wrong: Callable[[object], bool]) -> list[int | str] | None:
    """The keys and indexes to the first such value, innermost first; None when there is none.

    Steps are collected only when a value was found: a path for each of a million elements would cost too
    much.
    """
    if is_wrong(value):
        return []
    if isinstance(value, dict):
        children: Iterable[tuple[int | str, object]] = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    else:
        return None
    for step, child in children:
        path_steps = _path_to_first(child, is_wrong)
        if path_steps is not None:
            path_steps.append(step)
            return path_steps
    return None
