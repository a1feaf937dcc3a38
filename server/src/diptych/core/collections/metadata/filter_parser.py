"""Parse a filter from its JSON form.

{"colour": "red"}                       the value equals "red"
{"year": {"gte": 2000, "lt": 2010}}     operators: eq ne in lt lte gt gte on contains under exists; all must
{"exif.taken_at": {"on": "2024-05"}}    a date: a year, a month, a day or a time, with or without offset
{"title": {"contains": "cat"}}          a text in a text, whatever the case
{"file.folder": {"under": "2024"}}      a folder, or one within it
{"place.city": {"in": ["Rome", "Oslo"]}}  dots walk into nested objects
{"label": {"set": "kind", "in": ["cat", null]}}  a label of a label set; null: no label of it
{"and": [...]}, {"or": [...]}, {"not": {...}}
several keys in one object              all must hold
"""

from typing import Any, get_args

from diptych.core.collections.metadata.checks import json_kind
from diptych.core.collections.metadata.filters import (
    All,
    AnyOf,
    Compare,
    Contains,
    Eq,
    Exists,
    Filter,
    In,
    Labelled,
    Not,
    On,
    Order,
    Path,
    Under,
)
from diptych.core.collections.metadata.moments import looks_like_date, moment_of
from diptych.errors import InvalidValue

OPERATORS = ("eq", "ne", "in", *get_args(Order), "on", "contains", "under", "exists")
MAX_DEPTH = 16
MAX_CLAUSES = 256  # in the whole filter
MAX_IN_VALUES = 1_000  # in all its `in` lists together


def parse_filter(clause: object, where: str = "filter") -> Filter:
    """Parse JSON into a Filter. Raises InvalidValue naming the clause, such as ``filter.or[1].year.gte``."""
    return _Parser().clause(clause, where, MAX_DEPTH)


def parse_path(key: str, where: str) -> Path:
    """Split a key at its dots. Raises InvalidValue naming `where`."""
    path = tuple(key.split("."))
    if not all(path):
        raise _error(where, "a key must not be empty, begin or end with a dot, or have two together")
    return path


class _Parser:
    """Parses one filter and counts its clauses: every clause is evaluated for every image of a collection."""

    def __init__(self) -> None:
        self._n_clauses = 0
        self._n_values = 0

    def clause(self, clause: object, where: str, depth: int) -> Filter:
        if not isinstance(clause, dict):
            raise _error(where, f"expected an object, found {json_kind(clause)}")
        if not clause:
            raise _error(where, "an empty object has no condition")
        if depth == 0:
            raise _error(where, f"nested deeper than {MAX_DEPTH} clauses")
        return _all(
            tuple(self._entry(key, value, f"{where}.{key[:40]}", depth) for key, value in clause.items())
        )

    def _entry(self, key: str, value: object, where: str, depth: int) -> Filter:
        self._count_clause(where)
        match key:
            case "and":
                return All(self._clauses(value, where, depth))
            case "or":
                return AnyOf(self._clauses(value, where, depth))
            case "not":
                return Not(self.clause(value, where, depth - 1))
            case "label" if isinstance(value, dict) and "set" in value:
                return self._labelled(value, where)
        path = parse_path(key, where)
        if not isinstance(value, dict):
            return Eq(path, value)
        if not value:
            raise _error(where, f"expected a value or an operator: {', '.join(OPERATORS)}")
        conditions = (self._condition(path, name, value[name], f"{where}.{name[:40]}") for name in value)
        return _all(tuple(conditions))

    def _labelled(self, value: dict[str, Any], where: str) -> Filter:
        if value.keys() != {"set", "in"}:
            raise _error(where, "expected the keys set and in, and no others")
        if not isinstance(value["set"], str):
            raise _error(f"{where}.set", f"expected a string, found {json_kind(value['set'])}")
        labels = self._values(value["in"], f"{where}.in")
        for label in labels:
            if not isinstance(label, str | None):
                raise _error(f"{where}.in", f"expected labels or null, found {json_kind(label)}")
        return Labelled(value["set"], labels, where)

    def _clauses(self, value: object, where: str, depth: int) -> tuple[Filter, ...]:
        if not isinstance(value, list) or not value:
            raise _error(where, "expected a list of at least one clause")
        return tuple(self.clause(part, f"{where}[{index}]", depth - 1) for index, part in enumerate(value))

    def _condition(self, path: Path, name: str, operand: Any, where: str) -> Filter:
        match name:
            case "eq":
                return Eq(path, operand)
            case "ne":
                return Not(Eq(path, operand))
            case "in":
                return In(path, self._values(operand, where))
        found = _test(path, name, operand, where)
        if found is not None:
            return found
        inside = ".".join([*path, name])
        hint = f"; a nested field is named with dots, as in {inside!r}" if len(inside) <= 80 else ""
        raise _error(where, f"unknown operator {name[:40]!r}, expected one of: {', '.join(OPERATORS)}{hint}")

    def _values(self, operand: object, where: str) -> tuple[Any, ...]:
        if not isinstance(operand, list):
            raise _error(where, f"expected a list of values, found {json_kind(operand)}")
        self._n_values += len(operand)
        if self._n_values > MAX_IN_VALUES:
            raise _error(where, f"{self._n_values} values in all, the limit is {MAX_IN_VALUES}")
        return tuple(operand)

    def _count_clause(self, where: str) -> None:
        self._n_clauses += 1
        if self._n_clauses > MAX_CLAUSES:
            raise _error(where, f"more than {MAX_CLAUSES} clauses in all")


def _test(path: Path, name: str, operand: object, where: str) -> Filter | None:
    """A condition whose operand is of a certain kind; None if `name` is no such operator."""
    match name:
        case "lt" | "lte" | "gt" | "gte":
            return Compare(path, name, _ordered(operand, where))
        case "on":
            return On(path, _date(operand, where))
        case "contains":
            return Contains(path, _text(operand, where))
        case "under":
            return Under(path, _text(operand, where).rstrip("/"))
        case "exists":
            return Exists(path, _boolean(operand, where))
    return None


def _boolean(operand: object, where: str) -> bool:
    if not isinstance(operand, bool):
        raise _error(where, f"expected true or false, found {json_kind(operand)}")
    return operand


def _ordered(operand: object, where: str) -> float | str:
    if isinstance(operand, bool) or not isinstance(operand, (int, float, str)):
        raise _error(where, f"expected a number or a string, found {json_kind(operand)}")
    if isinstance(operand, str) and looks_like_date(operand) and moment_of(operand) is None:
        raise _no_date(operand, where)
    return operand


def _date(operand: object, where: str) -> str:
    if not isinstance(operand, str):
        raise _error(where, f"expected a date, found {json_kind(operand)}")
    if moment_of(operand) is None:
        raise _no_date(operand, where)
    return operand


def _no_date(operand: str, where: str) -> InvalidValue:
    forms = "2024, 2024-05, 2024-05-31, 2024-05-31T18:30 or 2024-05-31T18:30:15+02:00"
    return _error(where, f"{operand[:40]!r} is no date, expected one such as {forms}")


def _text(operand: object, where: str) -> str:
    if not isinstance(operand, str) or not operand:
        found = "an empty one" if operand == "" else json_kind(operand)
        raise _error(where, f"expected a string that is not empty, found {found}")
    return operand


def _all(parts: tuple[Filter, ...]) -> Filter:
    return parts[0] if len(parts) == 1 else All(parts)


def _error(where: str, message: str) -> InvalidValue:
    return InvalidValue(message, where)
