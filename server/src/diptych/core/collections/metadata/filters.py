"""Filters on metadata, in parsed form.

A path walks into nested objects. Where the value is an array, a comparison holds if it holds for the array
itself or for any of its elements, so that {"tags": {"eq": "cat"}} finds an image with several tags.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from diptych.core.types import Metadata

Path = tuple[str, ...]
Order = Literal["lt", "lte", "gt", "gte"]

_ABSENT = object()
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


class Filter(Protocol):
    """One condition on metadata."""

    def matches(self, metadata: Metadata) -> bool:
        """Whether the metadata passes. Pure, and no metadata makes it raise."""
        ...


@dataclass(frozen=True)
class Eq:
    """Equal as JSON: 1 equals 1.0, but true is not 1. An absent key equals nothing."""

    path: Path
    value: Any

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        return _any(lookup(metadata, self.path), lambda found: same_json(found, self.value))


@dataclass(frozen=True)
class In:
    """Equal to one of the values."""

    path: Path
    values: tuple[Any, ...]

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        return any(Eq(self.path, value).matches(metadata) for value in self.values)


@dataclass(frozen=True)
class Compare:
    """Less or greater than a number, or than a string in code point order (as ISO dates are). Values of
    another kind do not match.
    """

    path: Path
    order: Order
    value: float | str

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        return _any(lookup(metadata, self.path), self._holds)

    def _holds(self, found: Any) -> bool:
        return _comparable(found, self.value) and _ORDERS[self.order](found, self.value)


@dataclass(frozen=True)
class Exists:
    """The key exists (its value may be null), or does not."""

    path: Path
    wanted: bool

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        return (lookup(metadata, self.path) is not _ABSENT) == self.wanted


@dataclass(frozen=True)
class All:
    """Every part passes; true without parts."""

    parts: tuple[Filter, ...]

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        return all(part.matches(metadata) for part in self.parts)


@dataclass(frozen=True)
class AnyOf:
    """At least one part passes."""

    parts: tuple[Filter, ...]

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        return any(part.matches(metadata) for part in self.parts)


@dataclass(frozen=True)
class Not:
    """The part does not pass. `ne` is this around `Eq`, so it passes where the key is absent."""

    part: Filter

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        return not self.part.matches(metadata)


def same_json(a: Any, b: Any) -> bool:
    """Equality of JSON values; Python alone would call true and 1 equal."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    return bool(a == b)


def lookup(metadata: Metadata, path: Path, absent: Any = _ABSENT) -> Any:
    """The value at the path, or `absent`."""
    value: Any = metadata
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return absent
        value = value[key]
    return value


def _any(found: Any, has_index: Callable[[Any], bool]) -> bool:
    if found is _ABSENT:
        return False
    return has_index(found) or (isinstance(found, list) and any(map(has_index, found)))


def _comparable(a: Any, b: float | str) -> bool:
    if isinstance(a, bool):
        return False
    return isinstance(a, str) if isinstance(b, str) else isinstance(a, (int, float))
