"""Translates a metadata filter into SQL. `diptych.core.collections.filters` defines what a filter means.

SQLite reads JSON several times faster than Python does, and lets other threads work meanwhile. Where it could
decide otherwise than Python (see `_NUL`, `_near` and `in_python`), the condition asks Python.
"""

# ruff: noqa: S608 - names, numbers of parameters and constants are spliced in; what callers say is bound

import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diptych.core.collections.filters import All, AnyOf, Compare, Eq, Exists, Filter, In, Not, Order, Path

ASK_PYTHON = "diptych_asks_python"  # (number of the part, metadata) -> 1 or 0
OLDEST = (
    3,
    45,
    0,
)  # of SQLite: from here on its JSON functions read escapes in keys and keep what they parsed
_INT64 = range(-(2**63), 2**63)
_SPELLINGS: dict[Order, str] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
# To SQLite, a text and a key end at a NUL: Python decides about all metadata with one. No JSON has it written
# in another way: control characters are escaped, and `collections.metadata.to_json` has written it all.
_NUL = r"\u0000"


@dataclass
class Condition:
    """`sql` is 1 or 0 for each row, never NULL; `asked` are the parts that it may ask Python about."""

    sql: str = ""
    parameters: list[Any] = field(default_factory=list)
    asked: list[Filter] = field(default_factory=list)


def condition_of(filter: Filter, column: str, parameters: Sequence[Any]) -> Condition:
    """The filter on a column of JSON texts; `parameters` are those that stand before it in the statement."""
    spelling = _Spelling(column, Condition(parameters=list(parameters)))
    spelling.made.sql = spelling.in_python(filter)
    if sqlite3.sqlite_version_info >= OLDEST:
        nul, python, whole = f"instr({column}, '{_NUL}')", spelling.made.sql, spelling.whole(filter)
        # Outside of a function or CASE, where AND and OR would no longer stop at what decides.
        spelling.made.sql = f"(({whole} AND NOT {nul}) OR ({nul} AND {python}))"
    return spelling.made


class _Spelling:
    def __init__(self, column: str, made: Condition) -> None:
        self._column = column
        self.made = made

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
            case Eq(path, value):
                return self._at(filter, path, _Equal.of([value]))
            case In(path, values):
                return self._at(filter, path, _Equal.of(values))
            case Compare(path, order, value):
                return self._at(filter, path, _Ordered.of(order, value))
            case Exists(path, wanted):
                return self._exists(filter, path, wanted)
        return self.in_python(filter)

    def in_python(self, filter: Filter) -> str:
        self.made.asked.append(filter)
        return f"{ASK_PYTHON}({len(self.made.asked) - 1}, {self._column})"

    def bind(self, value: Any) -> str:
        self.made.parameters.append(value)
        return f"?{len(self.made.parameters)}"

    def _joined(self, parts: Sequence[Filter], word: str, otherwise: str) -> str:
        return f"({word.join(map(self.whole, parts))})" if parts else otherwise

    def _exists(self, filter: Filter, path: Path, wanted: bool) -> str:
        spelled = _json_path(path)
        if spelled is None:
            return self.in_python(filter)
        return f"(json_type({self._column}, {self.bind(spelled)}) IS {'NOT ' if wanted else ''}NULL)"

    def _at(self, filter: Filter, path: Path, test: "_Equal | _Ordered | None") -> str:
        """The test of the value at a path, and of the elements of an array there."""
        spelled = _json_path(path)
        if spelled is None or test is None:
            return self.in_python(filter)
        where = self.bind(spelled)
        python = self.in_python(filter)
        value = f"json_extract({self._column}, {where})"
        itself = test.spelled(self, value, python)
        element = test.spelled(self, "atom", python)
        elements = f"EXISTS (SELECT 1 FROM json_each({self._column}, {where}) WHERE CASE type {element} END)"
        return f"(CASE json_type({self._column}, {where}) WHEN 'array' THEN {elements} {itself} END)"


@dataclass(frozen=True)
class _Equal:
    """Equal to one of the values, as the branches of a CASE on the JSON type."""

    texts: list[str]
    numbers: list[int | float]
    words: list[str]  # true, false, null

    @classmethod
    def of(cls, values: Sequence[Any]) -> "_Equal | None":
        """None where SQL has no such value."""
        texts = [value for value in values if isinstance(value, str)]
        words = [json.dumps(value) for value in values if value is None or isinstance(value, bool)]
        numbers = [
            value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        known = len(texts) + len(words) + len(numbers) == len(values)
        fit = all(map(_is_plain, texts)) and all(map(_is_small, numbers))
        return cls(texts, numbers, words) if known and fit else None

    def spelled(self, into: _Spelling, value: str, python: str) -> str:
        branches = [
            "WHEN '' THEN 0",
            *(f"WHEN '{word}' THEN 1" for word in self.words),
        ]  # a CASE has one at least
        if self.texts:
            branches.append(f"WHEN 'text' THEN {value} IN ({', '.join(map(into.bind, self.texts))})")
        if self.numbers:  # an integer beyond 64 bits has become a rounded float, as others may be in reading
            found = f"{value} IN ({', '.join(map(into.bind, self.numbers))})"
            branches.append(f"WHEN 'integer' THEN iif(typeof({value}) = 'integer', {found}, {python})")
            branches.append(f"WHEN 'real' THEN {python}")
        return " ".join([*branches, "ELSE 0"])


@dataclass(frozen=True)
class _Ordered:
    """Before or after a value of the same kind, as the branches of a CASE on the JSON type."""

    sign: str
    value: str | int | float

    @classmethod
    def of(cls, order: Order, value: str | float) -> "_Ordered | None":
        """None where SQL has no such value."""
        fits = _is_plain(value) if isinstance(value, str) else _is_small(value)
        return cls(_SPELLINGS[order], value) if fits else None

    def spelled(self, into: _Spelling, value: str, python: str) -> str:
        bound = into.bind(self.value)
        holds = f"({value} {self.sign} {bound})"
        if isinstance(self.value, str):  # both order texts by code points
            return f"WHEN 'text' THEN {holds} ELSE 0"
        near = _near(value, into.bind(float(self.value)))
        return (
            f"WHEN 'integer' THEN CASE WHEN typeof({value}) = 'integer' OR NOT {near} THEN {holds}"
            f" ELSE {python} END"
            f" WHEN 'real' THEN iif({near}, {python}, {holds}) ELSE 0"
        )


def _near(value: str, bound: str) -> str:
    """So near that a float which was not read to its last bit could be on the other side."""
    return f"(abs({value} - {bound}) <= abs({bound}) * 1e-9 + 1e-300)"


def _json_path(path: Path) -> str | None:
    """None for keys that are spelled with escapes in JSON or in a path."""
    plain = all(key.isascii() and key.isprintable() and not {'"', "\\"} & set(key) for key in path)
    return "$" + "".join(f'."{key}"' for key in path) if plain else None


def _is_plain(text: str) -> bool:
    """Whether SQLite can have it as a text: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _is_small(number: float) -> bool:
    return number in _INT64 if isinstance(number, int) else math.isfinite(number)
