"""Dates and times in metadata: texts of ISO 8601, as cameras and people write them."""

import re
from calendar import isleap, monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

MAX_CHARS = 40
_SHAPE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?"
    r"(?:(Z)|([+-])(\d\d):?(\d\d))?)?)?)?",
    re.ASCII,
)
_UNPADDED = re.compile(r"\d{4}-\d\d?-\d\d?", re.ASCII)  # a day as people write it: 2024-5-1
_FIRST = (1, 1, 1, 0, 0, 0)  # year, month, day, hour, minute and second where a text has none
_SECOND, _MINUTE, _DAY = 10**6, 60 * 10**6, 24 * 3600 * 10**6  # microseconds


@dataclass(frozen=True)
class Moment:
    """The time that a text names, from its first microsecond up to, but without, `end`: a day is all of it.

    Both count microseconds of the local time since the year 1. `offset` are those to subtract for UTC, None
    where the text has none.
    """

    start: int
    end: int
    offset: int | None = None

    def against(self, bound: "Moment") -> tuple[int, int, int]:
        """The start of this moment, and start and end of a bound, on one clock.

        That is UTC if both have an offset, else the local time of each.
        """
        if self.offset is None or bound.offset is None:
            return self.start, bound.start, bound.end
        return self.start - self.offset, bound.start - bound.offset, bound.end - bound.offset


def moment_of(text: str) -> Moment | None:
    """The moment that a text names: a year, a month, a day, or a time of a day, with or without its offset.

    None for another text, also for one such as 2024-02-30.
    """
    return _parsed(text) if len(text) <= MAX_CHARS and text[:4].isdigit() else None


def looks_like_date(text: str) -> bool:
    """Whether a text has the shape of a date or a time of a day, also without zeros in front of its month and
    day, and if there is no such day.
    """
    found = _SHAPE.fullmatch(text)
    return _UNPADDED.fullmatch(text) is not None or (found is not None and found[3] is not None)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Moment | None:
    found = _SHAPE.fullmatch(text)
    if found is None:
        return None
    parts = zip(found.groups()[:6], _FIRST, strict=True)
    year, month, day, hour, minute, second = (int(first if part is None else part) for part, first in parts)
    fraction = (found[7] or "")[:6]
    try:
        begin = datetime(year, month, day, hour, minute, second, int(fraction.ljust(6, "0")))
    except ValueError:  # there is no such day or time
        return None
    offset = _offset(found)
    if offset is None and found[9] is not None:
        return None
    start = (begin - datetime.min) // timedelta(microseconds=1)
    return Moment(start, start + _length(found, year, month, len(fraction)), offset)


def _length(found: re.Match[str], year: int, month: int, n_decimals: int) -> int:
    """The microseconds that the last number of a text stands for."""
    if found[2] is None:
        return (365 + isleap(year)) * _DAY
    if found[3] is None:
        return monthrange(year, month)[1] * _DAY
    if found[4] is None:
        return _DAY
    return _MINUTE if found[6] is None else _SECOND // 10**n_decimals


def _offset(found: re.Match[str]) -> int | None:
    """The offset from UTC; None if there is none, or no such one."""
    if found[9] is None:
        return None if found[8] is None else 0
    hours, minutes = int(found[10]), int(found[11])
    if hours > 23 or minutes > 59:
        return None
    return (hours * 60 + minutes) * (-_MINUTE if found[9] == "-" else _MINUTE)
