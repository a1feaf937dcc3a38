"""Filters on metadata, in parsed form.

A path walks into nested objects. Where the value is an array, a comparison holds if it holds for the array
itself or for any of its elements, so that {"tags": {"eq": "cat"}} finds an image with several tags.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, Protocol

from diptych.core.collections.metadata.moments import Moment, moment_of
from diptych.core.types import Keys, Metadata

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
    """One condition on metadata, or on what else is known of an image."""

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
    """Less or greater than a number, than a date, or than another string in code point order. Values of
    another kind do not match.

    A date stands for all of its time: "2024-05" is passed by all of that May with `gte` and with `lte`. A
    value counts with its beginning. See `Moment` for offsets. A string that is no date is compared with one
    in code point order.
    """

    path: Path
    order: Order
    value: float | str

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        return _any(lookup(metadata, self.path), self._holds)

    def _holds(self, found: Any) -> bool:
        if not _comparable(found, self.value):
            return False
        if isinstance(self.value, str) and (bound := moment_of(self.value)) is not None:
            moment = moment_of(found)
            if moment is not None:
                return _compares(moment, self.order, bound)
        return _ORDERS[self.order](found, self.value)


@dataclass(frozen=True)
class On:
    """A date within all the time that another date stands for: of its year, month, day, minute or second."""

    path: Path
    date: str

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        bound = moment_of(self.date)
        return bound is not None and _any(lookup(metadata, self.path), lambda found: _is_within(found, bound))


@dataclass(frozen=True)
class Contains:
    """A string with this text in it, whatever the case of either."""

    path: Path
    text: str

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        text = self.text.casefold()
        return _any(
            lookup(metadata, self.path), lambda found: isinstance(found, str) and text in found.casefold()
        )


@dataclass(frozen=True)
class Under:
    """The path of a folder, or of one within it: a text, with "/" between its parts."""

    path: Path
    folder: str

    def matches(self, metadata: Metadata) -> bool:
        """See the class."""
        return _any(lookup(metadata, self.path), self._holds)

    def _holds(self, found: Any) -> bool:
        return isinstance(found, str) and (found == self.folder or found.startswith(f"{self.folder}/"))


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


@dataclass(frozen=True)
class Labelled:
    """The image has one of these labels of a label set; None: it has no label of it.

    `where`: the name of the clause in the filter. No store knows labels: see `KeyIn`.
    """

    label_set: str
    labels: tuple[str | None, ...]
    where: str

    def matches(self, metadata: Metadata) -> bool:
        """Metadata does not say it."""
        return False


@dataclass(frozen=True)
class KeyIn:
    """The row has one of these keys (N,), ascending: in the place of `Labelled` when a store sees the filter.

    `digest`: of the keys, for comparisons.
    """

    keys: Keys = field(repr=False, compare=False)
    digest: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256(self.keys.tobytes()).hexdigest())

    def matches(self, metadata: Metadata) -> bool:
        """Metadata does not say it."""
        return False


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


def _compares(found: Moment, order: Order, bound: Moment) -> bool:
    moment, start, end = found.against(bound)
    match order:
        case "lt":
            return moment < start
        case "lte":
            return moment < end
        case "gt":
            return moment >= end
    return moment >= start


def _is_within(found: Any, bound: Moment) -> bool:
    moment = moment_of(found) if isinstance(found, str) else None
    return moment is not None and _compares(moment, "gte", bound) and _compares(moment, "lte", bound)


def _comparable(a: Any, b: float | str) -> bool:
    if isinstance(a, bool):
        return False
    return isinstance(a, str) if isinstance(b, str) else isinstance(a, (int, float))
