"""Parse a filter from its JSON form.

{"colour": "red"}                       the value equals "red"
{"year": {"gte": 2000, "lt": 2010}}     operators: eq ne in lt lte gt gte exists; all must hold
{"place.city": {"in": ["Rome", "Oslo"]}}  dots walk into nested objects
{"and": [...]}, {"or": [...]}, {"not": {...}}
several keys in one object              all must hold
"""

from typing import Any, get_args

from diptych.core.collections.metadata.checks import json_kind
from diptych.core.collections.metadata.filters import (
    All,
    AnyOf,
    Compare,
    Eq,
    Exists,
    Filter,
    In,
    Not,
    Order,
    Path,
)
from diptych.errors import InvalidValue

OPERATORS = ("eq", "ne", "in", *get_args(Order), "exists")
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
        path = parse_path(key, where)
        if not isinstance(value, dict):
            return Eq(path, value)
        if not value:
            raise _error(where, f"expected a value or an operator: {', '.join(OPERATORS)}")
        conditions = (self._condition(path, name, value[name], f"{where}.{name[:40]}") for name in value)
        return _all(tuple(conditions))

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
            case "exists":
                return Exists(path, _boolean(operand, where))
            case "lt" | "lte" | "gt" | "gte":
                return Compare(path, name, _ordered(operand, where))
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


def _boolean(operand: object, where: str) -> bool:
    if not isinstance(operand, bool):
        raise _error(where, f"expected true or false, found {json_kind(operand)}")
    return operand


def _ordered(operand: object, where: str) -> float | str:
    if isinstance(operand, bool) or not isinstance(operand, (int, float, str)):
        raise _error(where, f"expected a number or a string, found {json_kind(operand)}")
    return operand


def _all(parts: tuple[Filter, ...]) -> Filter:
    return parts[0] if len(parts) == 1 else All(parts)


def _error(where: str, message: str) -> InvalidValue:
    return InvalidValue(message, where)
