"""Translates a metadata filter into SQL of PostgreSQL, in three values.

The condition is true or false where PostgreSQL surely says the same as `core.collections.metadata.filters`,
and NULL where Python must decide: where JSONB cannot hold the metadata (`fields` is NULL), for large numbers,
some dates, case in other letters than ASCII, and filters that are not known here. SQL's AND, OR and NOT carry
that through.
"""

# ruff: noqa: S608 - names of parameters and constants are inserted; values from callers are bound

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diptych.adapters.sqlite.metadata.dates import DateTest
from diptych.adapters.sqlite.metadata.filters import AFTER_SLASH
from diptych.core.collections.metadata.filters import (
    All,
    AnyOf,
    Compare,
    Contains,
    Eq,
    Exists,
    Filter,
    In,
    KeyIn,
    Not,
    On,
    Order,
    Path,
    Under,
)
from diptych.core.types import Metadata

UNKNOWN = "NULL::boolean"
_TEXT = "((v #>> '{}') COLLATE \"C\")"
_PLAIN_DATE = (
    "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    "(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-][01][0-9]:[0-5][0-9])?)?$"
)
_OPERATORS: dict[Order, str] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_EXACT = 2**53  # below it floats and integers are equal in PostgreSQL if, and only if, they are in Python


@dataclass
class Condition:
    """A condition on the columns `key` and `fields`, in three values.

    `is_indexed`: made of parts that an index of `fields` answers, and NULL only where `fields` is.
    """

    sql: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    is_indexed: bool = True

    def bind(self, value: Any) -> str:
        """The name of a parameter with this value."""
        name = f"f{len(self.parameters)}"
        self.parameters[name] = value
        return f"%({name})s"


def condition_of(filter: Filter) -> Condition:
    """Translate a filter."""
    condition = Condition()
    condition.sql = _whole(condition, filter)
    return condition


def holds(filter: Filter, key: int, metadata: Metadata) -> bool:
    """Whether an image passes, as Python says it."""
    match filter:
        case KeyIn(keys):
            return bool(key in keys)
        case All(parts):
            return all(holds(part, key, metadata) for part in parts)
        case AnyOf(parts):
            return any(holds(part, key, metadata) for part in parts)
        case Not(part):
            return not holds(part, key, metadata)
    return filter.matches(metadata)


def _whole(to: Condition, filter: Filter) -> str:
    match filter:
        case All(parts) | AnyOf(parts):
            word, otherwise = (" AND ", "true") if isinstance(filter, All) else (" OR ", "false")
            return f"({word.join(_whole(to, part) for part in parts)})" if parts else otherwise
        case Not(part):
            to.is_indexed = False
            return f"(NOT {_whole(to, part)})"
    return _leaf(to, filter)


def _leaf(to: Condition, filter: Filter) -> str:
    match filter:
        case KeyIn(keys):
            return f"(key = ANY({to.bind(keys.tolist())}::bigint[]))"
        case Eq(path, value):
            return _equal(to, path, [value])
        case In(path, values):
            return _equal(to, path, values)
    to.is_indexed = False
    return _scanned(to, filter)


def _scanned(to: Condition, filter: Filter) -> str:
    """A condition that no index answers."""
    match filter:
        case Exists(path, wanted) if is_plain("".join(path)):
            found = f"{_value(to, path)} IS {'NOT ' if wanted else ''}NULL"
            return f"(CASE WHEN fields IS NOT NULL THEN {found} END)"
        case Compare(path, order, bound):
            return _at(to, path, _compared(to, order, bound))
        case On(path, date):
            test = DateTest.of("on", date)
            return UNKNOWN if test is None else _at(to, path, _dated(to, test))
        case Contains(path, text) if is_plain(text):
            return _at(to, path, _contained(to, text))
        case Under(path, folder) if is_plain(folder):
            return _at(to, path, _under(to, folder))
    return UNKNOWN


def _equal(to: Condition, path: Path, values: Sequence[Any]) -> str:
    """The value at the path, or an element of the array there, is one of the values: `fields` contains it."""
    if not (is_plain("".join(path)) and all(map(_is_simple, values))):
        to.is_indexed = False
        return UNKNOWN
    documents = [_nested(path, found) for value in values for found in (value, [value])]
    tests = " OR ".join(f"fields @> {to.bind(json.dumps(one))}::jsonb" for one in documents)
    return f"({tests})" if tests else "false"


def _nested(path: Path, value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _is_simple(value: Any) -> bool:
    if isinstance(value, str):
        return is_plain(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return abs(value) < _EXACT  # so it is finite
    return value is None or isinstance(value, bool)


def _value(to: Condition, path: Path) -> str:
    return "".join(["(fields", *(f" -> {to.bind(name)}::text" for name in path), ")"])


def _at(to: Condition, path: Path, test: str) -> str:
    """Test the value at a path, or the elements if it is an array. `test` is of a value `v`."""
    if not is_plain("".join(path)):
        return UNKNOWN
    elements = (
        "(SELECT CASE WHEN bool_or(t) THEN true WHEN bool_or(t IS NULL) THEN NULL ELSE false END"
        f" FROM (SELECT {test} AS t FROM jsonb_array_elements(a.v) AS e(v)) AS s)"
    )
    return (
        "(CASE WHEN fields IS NOT NULL THEN (SELECT CASE jsonb_typeof(a.v) WHEN 'array' THEN"
        f" {elements} ELSE {test} END FROM (SELECT {_value(to, path)} AS v) AS a) END)"
    )


def _compared(to: Condition, order: Order, bound: float | str) -> str:
    """A comparison with a value of the same type."""
    if isinstance(bound, str):
        test = DateTest.of(order, bound)
        if test is not None:
            return _dated(to, test)
        if not is_plain(bound):
            return "CASE jsonb_typeof(v) WHEN 'string' THEN NULL ELSE false END"
        holds = f"{_TEXT} {_OPERATORS[order]} {to.bind(bound)}"
        return f"CASE jsonb_typeof(v) WHEN 'string' THEN {holds} ELSE false END"
    if isinstance(bound, float) and not math.isfinite(bound):
        return "CASE jsonb_typeof(v) WHEN 'number' THEN NULL ELSE false END"
    number = f"(v #>> '{{}}')::numeric {_OPERATORS[order]} {to.bind(json.dumps(bound))}::numeric"
    return (
        f"CASE jsonb_typeof(v) WHEN 'number' THEN CASE WHEN abs((v #>> '{{}}')::numeric) < {_EXACT}"
        f" THEN {number} END ELSE false END"
    )


def _dated(to: Condition, test: DateTest) -> str:
    """A comparison with a date."""
    holds = test.holds(to.bind, _TEXT, UNKNOWN, _is_plain_date)
    return f"CASE jsonb_typeof(v) WHEN 'string' THEN {holds} ELSE false END"


def _is_plain_date(value: str) -> str:
    """Whether a text is a date for sure. Python decides on the last days of months."""
    return f"({value} >= '0001' AND {value} ~ '{_PLAIN_DATE}')"


def _contained(to: Condition, text: str) -> str:
    """A text in a text, whatever the case. In the collation C lower() changes letters of ASCII only."""
    value = "(v #>> '{}')"
    lower = text.encode().lower().decode()
    found = f'strpos(lower({value} COLLATE "C"), {to.bind(lower)}) > 0'
    return (
        f"CASE jsonb_typeof(v) WHEN 'string' THEN CASE WHEN {found} THEN true"
        f" WHEN octet_length({value}) = length({value}) THEN false END ELSE false END"
    )


def _under(to: Condition, folder: str) -> str:
    """A folder or one within it."""
    within = f"({_TEXT} >= {to.bind(f'{folder}/')} AND {_TEXT} < {to.bind(folder + AFTER_SLASH)})"
    return f"CASE jsonb_typeof(v) WHEN 'string' THEN {_TEXT} = {to.bind(folder)} OR {within} ELSE false END"


def is_plain(text: str) -> bool:
    """Whether PostgreSQL can represent the text: no NUL and no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
