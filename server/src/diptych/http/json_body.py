"""Read JSON strictly: what is no JSON is Malformed, what JSON cannot mean InvalidValue. Knows no schema."""

import json
import math
import re
from typing import NoReturn

from diptych.errors import InvalidValue, Malformed, TooLarge

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
            _refuse_lone_surrogates(value, item or "")
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


def _refuse_lone_surrogates(value: object, path: str) -> None:
    if isinstance(value, str) and _SURROGATE.search(value):
        raise InvalidValue("text has a lone surrogate, which is not a character", path or None)
    if isinstance(value, list):
        for i, element in enumerate(value):
            _refuse_lone_surrogates(element, f"{path}[{i}]")
    if isinstance(value, dict):
        for key, element in value.items():
            _refuse_lone_surrogates(key, path)
            _refuse_lone_surrogates(element, f"{path}.{key}" if path else key)
