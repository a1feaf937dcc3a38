"""The order of images by a field of their metadata.

Numbers come first, then dates and times, other texts, and booleans. Images without one of these come last,
whatever the direction; of an array its first one counts. Dates are in the order of their local times, where
the instant decides between equal ones. Texts are in the order of their code points, the case aside unless
they are equal otherwise. Images with equal values come by id.
"""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal

from diptych.core.collections.metadata.filters import Path, lookup
from diptych.core.collections.metadata.moments import moment_of
from diptych.core.types import Hit, Metadata
from diptych.errors import InvalidValue

Direction = Literal["asc", "desc"]
Scalar = str | int | float | bool | None
# The kind of a value, the value among those of its kind, and what decides between equal ones.
SortKey = tuple[int, int | float | bytes, int | bytes]
NUMBER, DATE, TEXT, BOOLEAN, MISSING = range(5)
MAX_CHARS = 200  # of a text that count
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class OrderBy:
    """The field whose values say which image comes first: the smallest one, or with "desc" the largest."""

    path: Path
    direction: Direction = "asc"

    def value_of(self, metadata: Metadata) -> Scalar:
        """The value that counts; None if there is none."""
        found = lookup(metadata, self.path, absent=None)
        values = found if isinstance(found, list) else [found]
        value = next((one for one in values if isinstance(one, str | int | float)), None)
        return value[:MAX_CHARS] if isinstance(value, str) else value

    def place_of(self, metadata: Metadata, id: str) -> "Place":
        """The place of an image."""
        return Place(sort_key(self.value_of(metadata)), id, self.direction)


@dataclass(frozen=True)
class Place:
    """The place of an image among others. It stays what it is when images come and go."""

    key: SortKey
    id: str
    direction: Direction

    def __lt__(self, other: "Place") -> bool:
        (kind, *value), (other_kind, *other_value) = self.key, other.key
        if kind != other_kind:
            return kind < other_kind
        if value != other_value:
            return (value < other_value) == (self.direction == "asc")
        return self.id < other.id


def sort_key(value: Scalar) -> SortKey:
    """The key of a value, which is to be smaller than that of values after it."""
    match value:
        case None:
            return MISSING, 0, 0
        case bool():
            return BOOLEAN, int(value), 0
        case str():
            moment = moment_of(value)
            if moment is not None:
                return DATE, moment.start, -(moment.offset or 0)
            return TEXT, _utf8(value.casefold()), _utf8(value)
    return NUMBER, value if isinstance(value, float) or value in _INT64 else _rounded(value), 0


def month_of(value: Scalar) -> str | None:
    """The month of a date in its own local time, such as "2024-05"; None for a value that is no date."""
    moment = moment_of(value) if isinstance(value, str) else None
    if moment is None:
        return None
    return f"{datetime.min + timedelta(microseconds=moment.start):%Y-%m}".zfill(len("2024-05"))


def in_order(hits: Sequence[Hit], order_by: OrderBy) -> list[Hit]:
    """The hits in the order of a field. Many take a moment, so call it in a thread."""
    by_id = sorted(hits, key=lambda hit: (hit.id, hit.collection))  # equal values keep this order
    if order_by.direction == "asc":
        return sorted(by_id, key=lambda hit: sort_key(order_by.value_of(hit.metadata)))

    def reversed_key(hit: Hit) -> SortKey:
        kind, value, tie = sort_key(order_by.value_of(hit.metadata))
        return -kind, value, tie  # the kinds keep their order

    return sorted(by_id, key=reversed_key, reverse=True)


def cursor_of(order_by: OrderBy, metadata: Metadata, id: str) -> str:
    """The place of an image as a text, for `place_at`."""
    content = [_mark(order_by), order_by.value_of(metadata), id]
    return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")


def place_at(cursor: str, order_by: OrderBy) -> Place:
    """The place that a cursor stands for. Raises InvalidValue for one of another order."""
    try:
        content = json.loads(base64.urlsafe_b64decode(f"{cursor}==").decode("ascii"))
        mark, value, id = content
        if mark == _mark(order_by) and isinstance(value, Scalar) and value == value and isinstance(id, str):  # noqa: PLR0124 - NaN
            return Place(sort_key(value), id, order_by.direction)
    except (ValueError, TypeError, RecursionError):
        pass
    raise InvalidValue("give the `next` of the page before, in the same order", "after")


def _mark(order_by: OrderBy) -> str:
    """Tells orders apart."""
    return sha256(repr((order_by.path, order_by.direction)).encode("utf-8", "backslashreplace")).hexdigest()[
        :8
    ]


def _utf8(text: str) -> bytes:
    """The text in bytes, which are in the order of code points."""
    return text.encode("utf-8", "surrogatepass")


def _rounded(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
