"""Read JSON strictly: what is no JSON is Malformed, what JSON cannot mean InvalidValue. Knows no schema."""

import json
import math
import re
from collections.abc import Iterable
from typing import NoReturn

from diptych.errors import InvalidValue, Malformed, TooLarge
from diptych.http.paths import spelled

MAX_VALUES = 2_000_000  # an empty list is 3 bytes of a body and 20 times that in memory
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def parse_json(payload: bytes | bytearray | str, item: str | None = None) -> object:
    """The value of a JSON text; `item` names the text in errors, None being the whole body.

    Malformed: not UTF-8, not JSON, nested deeper than the parser goes. InvalidValue: NaN and Infinity,
    numbers beyond a double, lone surrogates (they cannot be stored or sent as UTF-8). TooLarge: more values
    than any request has, judged by the characters that begin or separate them.
    """
    try:
        text = payload if isinstance(payload, str) else payload.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"JSON must be UTF-8, byte {error.start} is not", item) from None
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise TooLarge(f"JSON has over {MAX_VALUES} values", item)
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        if _SURROGATE_ESCAPE.search(text):
            _refuse_lone_surrogates(value, item)
    except RecursionError:
        raise Malformed("JSON is nested too deeply", item) from None
    except InvalidValue as error:
        raise InvalidValue(error.message, error.item or item) from None
    except ValueError as error:  # JSONDecodeError, and integers of more digits than Python reads
        raise Malformed(f"not JSON: {error}", item) from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidValue(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidValue(f"{digits[:40]} is beyond the range of a double")
    return value


def _refuse_lone_surrogates(value: object, item: str | None) -> None:
    way = _way_to_lone_surrogate(value)
    if way is not None:
        path = spelled([*([item] if item else []), *reversed(way)])
        raise InvalidValue("text has a lone surrogate, which is not a character", path or None)


def _way_to_lone_surrogate(value: object) -> list[int | str] | None:
    """Keys and indexes to the first one, the last step first; None when there is none.

    Spelled only when there is one: for each of a million elements a path would hold all the keys above it.
    """
    if isinstance(value, str):
        return [] if _SURROGATE.search(value) else None
    if isinstance(value, dict):
        if any(map(_SURROGATE.search, value)):
            return []
        children: Iterable[tuple[int | str, object]] = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    else:
        return None
    for step, child in children:
        way = _way_to_lone_surrogate(child)
        if way is not None:
            way.append(step)
            return way
    return None
