"""Translates a metadata filter into SQL. `core.collections.metadata.filters` says what a filter means.

SQLite reads JSON several times faster than Python and releases the GIL meanwhile. Where its result could
differ from Python's (see `NUL`, `_near` and `in_python`), the condition calls Python.
"""

# ruff: noqa: S608 - names, parameter numbers and constants are inserted; values from callers are bound

import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from diptych.adapters.sqlite.metadata.dates import DateTest
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
from diptych.core.types import Keys

_Bind = Callable[[Any], str]  # a value -> its parameter in the statement

ASK_PYTHON = "diptych_asks_python"  # (number of the part, metadata) -> 1 or 0
# The oldest SQLite whose JSON functions read escapes in keys and cache what they have parsed.
OLDEST = (3, 45, 0)
_INT64 = range(-(2**63), 2**63)
_OPERATORS: dict[Order, str] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
# For SQLite a text or key ends at a NUL, so Python evaluates all metadata that contain one. This is its only
# translation: `metadata.checks.to_json` writes all metadata, and escapes control characters.
NUL = r"\u0000"
AFTER_SLASH = chr(ord("/") + 1)  # in code point order


@dataclass
class Condition:
    """A condition in SQL: 1 or 0 for each row, never NULL. `in_python`: parts for Python to evaluate."""

    sql: str = ""
    parameters: list[Any] = field(default_factory=list)
    in_python: list[Filter] = field(default_factory=list)


def condition_of(filter: Filter, column: str, parameters: Sequence[Any]) -> Condition:
    """Translate a filter on a column of JSON texts. `parameters` precede it in the statement."""
    translation = _Translation(column, Condition(parameters=list(parameters)))
    translation.condition.sql = translation.in_python(filter)
    if sqlite3.sqlite_version_info >= OLDEST:
        nul, python, whole = (
            f"instr({column}, '{NUL}')",
            translation.condition.sql,
            translation.whole(filter),
        )
        # Not inside a function or CASE, where AND and OR would not short-circuit.
        translation.condition.sql = f"(({whole} AND NOT {nul}) OR ({nul} AND {python}))"
    return translation.condition


class _Test(Protocol):
    """A test of one value, as the branches of a CASE on its JSON type."""

    def to_sql(self, bind: _Bind, value: str, python: str) -> str: ...


class _Translation:
    def __init__(self, column: str, condition: Condition) -> None:
        self._column = column
        self.condition = condition

    def whole(self, filter: Filter) -> str:
        match filter:
            case All(parts):
                return self._joined(parts, " AND ", otherwise="1")
            case AnyOf(parts):
                return self._joined(parts, " OR ", otherwise="0")
            case Not(part):
                return f"(NOT {self.whole(part)})"
        return self._leaf(filter)

    def _leaf(self, filter: Filter) -> str:
        match filter:
            case Exists(path, wanted):
                return self._exists(filter, path, wanted)
            case Eq(path) | In(path) | Compare(path) | On(path) | Contains(path) | Under(path):
                return self._at(filter, path, _test_of(filter))
        return self.in_python(filter)

    def in_python(self, filter: Filter) -> str:
        """Let Python evaluate all of a filter but keys of rows, which only SQL sees."""
        match filter:
            case KeyIn(keys):
                return self._key_in(keys)
            case All(parts) | AnyOf(parts) if any(map(_has_keys, parts)):
                word = " AND " if isinstance(filter, All) else " OR "
                return f"({word.join(map(self.in_python, parts))})"
            case Not(part) if _has_keys(part):
                return f"(NOT {self.in_python(part)})"
        self.condition.in_python.append(filter)
        return f"{ASK_PYTHON}({len(self.condition.in_python) - 1}, {self._column})"

    def _key_in(self, keys: Keys) -> str:
        return f"(key IN (SELECT value FROM json_each({self.bind(json.dumps(keys.tolist()))})))"

    def bind(self, value: Any) -> str:
        self.condition.parameters.append(value)
        return f"?{len(self.condition.parameters)}"

    def _joined(self, parts: Sequence[Filter], word: str, otherwise: str) -> str:
        return f"({word.join(map(self.whole, parts))})" if parts else otherwise

    def _exists(self, filter: Filter, path: Path, wanted: bool) -> str:
        where = json_path(path)
        if where is None:
            return self.in_python(filter)
        return f"(json_type({self._column}, {self.bind(where)}) IS {'NOT ' if wanted else ''}NULL)"

    def _at(self, filter: Filter, path: Path, test: "_Test | None") -> str:
        """Test the value at a path, or the elements if it is an array."""
        path_text = json_path(path)
        if path_text is None or test is None:
            return self.in_python(filter)
        where = self.bind(path_text)
        python = self.in_python(filter)
        value = f"json_extract({self._column}, {where})"
        itself = test.to_sql(self.bind, value, python)
        element = test.to_sql(self.bind, "atom", python)
        elements = f"EXISTS (SELECT 1 FROM json_each({self._column}, {where}) WHERE CASE type {element} END)"
        return f"(CASE json_type({self._column}, {where}) WHEN 'array' THEN {elements} {itself} END)"


@dataclass(frozen=True)
class _Equal:
    """A test for equality with one of the values, as the branches of a CASE on the JSON type."""

    texts: list[str]
    numbers: list[int | float]
    words: list[str]  # true, false, null

    @classmethod
    def of(cls, values: Sequence[Any]) -> "_Equal | None":
        """Make the test; None if SQL cannot represent the values."""
        texts = [value for value in values if isinstance(value, str)]
        words = [json.dumps(value) for value in values if value is None or isinstance(value, bool)]
        numbers = [
            value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        known = len(texts) + len(words) + len(numbers) == len(values)
        fit = all(map(_is_plain, texts)) and all(map(_is_small, numbers))
        return cls(texts, numbers, words) if known and fit else None

    def to_sql(self, bind: _Bind, value: str, python: str) -> str:
        # The first branch never applies: a CASE must have at least one.
        branches = ["WHEN '' THEN 0", *(f"WHEN '{word}' THEN 1" for word in self.words)]
        if self.texts:
            branches.append(f"WHEN 'text' THEN {value} IN ({', '.join(map(bind, self.texts))})")
        if self.numbers:  # SQLite reads integers beyond 64 bits as rounded floats, and may round other floats
            found = f"{value} IN ({', '.join(map(bind, self.numbers))})"
            branches.append(f"WHEN 'integer' THEN iif(typeof({value}) = 'integer', {found}, {python})")
            branches.append(f"WHEN 'real' THEN {python}")
        return " ".join([*branches, "ELSE 0"])


@dataclass(frozen=True)
class _Ordered:
    """A comparison with a value of the same type, as the branches of a CASE on the JSON type."""

    sign: str
    value: str | int | float

    @classmethod
    def of(cls, order: Order, value: str | float) -> "_Ordered | None":
        """Make the test; None if SQL cannot represent the values."""
        fits = _is_plain(value) if isinstance(value, str) else _is_small(value)
        return cls(_OPERATORS[order], value) if fits else None

    def to_sql(self, bind: _Bind, value: str, python: str) -> str:
        bound = bind(self.value)
        holds = f"({value} {self.sign} {bound})"
        if isinstance(self.value, str):  # SQLite and Python both order texts by code point
            return f"WHEN 'text' THEN {holds} ELSE 0"
        near = _near(value, bind(float(self.value)))
        return (
            f"WHEN 'integer' THEN CASE WHEN typeof({value}) = 'integer' OR NOT {near} THEN {holds}"
            f" ELSE {python} END"
            f" WHEN 'real' THEN iif({near}, {python}, {holds}) ELSE 0"
        )


@dataclass(frozen=True)
class _Contained:
    """A test for a text in a text, whatever the case. SQLite's lower() changes letters of ASCII only."""

    text: str

    def to_sql(self, bind: _Bind, value: str, python: str) -> str:
        lower = self.text.encode("utf-8").lower().decode("utf-8")
        found = (
            f"WHEN instr(lower({value}), {bind(lower)}) > 0 THEN 1"  # so the folded ones contain each other
        )
        return f"WHEN 'text' THEN CASE {found} WHEN {is_ascii(value)} THEN 0 ELSE {python} END ELSE 0"


@dataclass(frozen=True)
class _Under:
    """A test for a folder or one within it. Texts that begin with it and "/" stand together in the order."""

    folder: str

    def to_sql(self, bind: _Bind, value: str, python: str) -> str:
        first, end = bind(f"{self.folder}/"), bind(f"{self.folder}{AFTER_SLASH}")
        within = f"({value} >= {first} AND {value} < {end})"
        return f"WHEN 'text' THEN ({value} = {bind(self.folder)} OR {within}) ELSE 0"


def _test_of(filter: Eq | In | Compare | On | Contains | Under) -> _Test | None:
    """The test of a value; None if SQL cannot represent what it is tested for."""
    match filter:
        case Eq(_, value):
            return _Equal.of([value])
        case In(_, values):
            return _Equal.of(values)
        case Contains(_, text):
            return _Contained(text) if _is_plain(text) else None
        case Under(_, folder):
            return _Under(folder) if _is_plain(folder) else None
        case On(_, date):
            return DateTest.of("on", date)
    date_test = DateTest.of(filter.order, filter.value) if isinstance(filter.value, str) else None
    return date_test or _Ordered.of(filter.order, filter.value)


def _has_keys(filter: Filter) -> bool:
    match filter:
        case All(parts) | AnyOf(parts):
            return any(map(_has_keys, parts))
        case Not(part):
            return _has_keys(part)
    return isinstance(filter, KeyIn)


def is_ascii(value: str) -> str:
    """Whether a text has ASCII characters only."""
    return f"(octet_length({value}) = length({value}))"


def _near(value: str, bound: str) -> str:
    """Whether a value is so near the bound that a rounding error in reading it could change the result."""
    return f"(abs({value} - {bound}) <= abs({bound}) * 1e-9 + 1e-300)"


def json_path(path: Path) -> str | None:
    """The path in SQLite's syntax; None for keys that need escapes in JSON or in a path."""
    plain = all(key.isascii() and key.isprintable() and not {'"', "\\"} & set(key) for key in path)
    return "$" + "".join(f'."{key}"' for key in path) if plain else None


def _is_plain(text: str) -> bool:
    """Whether SQLite can represent the text: no NUL and no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _is_small(number: float) -> bool:
    return number in _INT64 if isinstance(number, int) else math.isfinite(number)
