"""Check metadata, and change it by a patch."""

import json
import re
import sys
from typing import Any

from diptych.core.types import Metadata
from diptych.errors import InvalidValue, TooLarge

MAX_DEPTH = 32
_LARGEST = int(sys.float_info.max)
_LONG_NUMBER = re.compile(r"\d{309}")  # may also be part of a text


def check_metadata(metadata: object, max_bytes: int) -> Metadata:
    """Return `metadata` if it is a JSON object of bounded depth and at most `max_bytes` of JSON.

    Raises InvalidValue, or TooLarge over `max_bytes`. Integers beyond the range of a double are refused,
    since most programs that read the answers cannot hold them.
    """
    if not isinstance(metadata, dict):
        raise InvalidValue(f"metadata must be a JSON object, not {json_kind(metadata)}")
    _check_depth(metadata)
    try:
        text = to_json(metadata)
    except (TypeError, ValueError) as error:  # NaN, infinity, or no JSON value at all
        raise InvalidValue(f"metadata is not JSON: {error}") from error
    if len(text) > max_bytes:
        raise TooLarge(f"metadata has {len(text)} bytes as JSON, the limit is {max_bytes}")
    if _LONG_NUMBER.search(text):
        _check_integers(metadata, "metadata")
    return metadata


def to_json(metadata: Metadata) -> str:
    """Compact JSON in ASCII; unpaired surrogates, which JSON can spell, stay escaped."""
    return json.dumps(metadata, separators=(",", ":"), allow_nan=False)


def merge_patch(target: Metadata, patch: Metadata) -> Metadata:
    """Apply a JSON merge patch (RFC 7396): null removes a key, objects merge, all else replaces."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            merged[key] = merge_patch(old if isinstance(old, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def json_kind(value: object) -> str:
    """The JSON name of the kind of a value, for messages."""
    kinds: dict[type, str] = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return kinds.get(type(value), type(value).__name__)


def _check_depth(metadata: Metadata) -> None:
    """Check the depth level by level: recursion would itself fail on values nested too deeply."""
    level: list[Any] = [metadata]
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise InvalidValue(f"metadata is nested deeper than {MAX_DEPTH} levels")


def _check_integers(value: Any, where: str) -> None:
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise InvalidValue(f"{where} is an integer beyond the range of a double")
    if isinstance(value, dict):
        for key, child in value.items():
            _check_integers(child, f"{where}.{key[:40]}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _check_integers(child, f"{where}[{index}]")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
