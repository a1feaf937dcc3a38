"""SQL that compares a text with a date, as `core.collections.metadata.filters.Compare` and `On` do.

For most texts code point order is the order of dates. Only texts near the bound need more: whether they are
dates at all, and which time they name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from diptych.core.collections.metadata.filters import Order
from diptych.core.collections.metadata.moments import Moment, moment_of

Sign = Order | Literal["on"]
_DAY_CHARS = 10  # of 2024-05-31
_MARGIN = timedelta(days=2)  # by which two local times may differ at one instant
# Whether a text that lies in the time of a bound holds, if it is a date.
_INSIDE: dict[Sign, str] = {"lt": "FALSE", "lte": "TRUE", "gt": "FALSE", "gte": "TRUE", "on": "TRUE"}
_OUTSIDE: dict[Sign, str] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


@dataclass(frozen=True)
class DateTest:
    """A comparison of a text with a date."""

    sign: Sign
    text: str
    bound: Moment

    @classmethod
    def of(cls, sign: Sign, text: str) -> "DateTest | None":
        """Make the test; None if the text is no date."""
        bound = moment_of(text)
        return None if bound is None else cls(sign, text, bound)

    def to_sql(self, bind: Callable[[Any], str], value: str, python: str) -> str:
        """The branches of a CASE on the JSON type of `value`; `python` decides in its place."""
        return f"WHEN 'text' THEN {self.holds(bind, value, python, is_plain_date)} ELSE 0"

    def holds(
        self, bind: Callable[[Any], str], value: str, python: str, is_plain: Callable[[str], str]
    ) -> str:
        """Whether it holds for the text `value`, in SQL of any database; `is_plain`: see `is_plain_date`."""
        near = self._near(bind, value, python, is_plain)
        if near is None:
            return python
        # A text such as 2024 before 2024-01-01 in code point order, which may be the same time.
        shorter = [self.text[:n] for n in (4, 7, 10, 16, 19) if n < len(self.text)]
        coarse = f" WHEN {value} IN ({', '.join(map(bind, shorter))}) THEN {python}" if shorter else ""
        far = "FALSE" if self.sign == "on" else f"({value} {_OUTSIDE[self.sign]} {bind(self.text)})"
        return f"CASE {near}{coarse} ELSE {far} END"

    def _near(
        self, bind: Callable[[Any], str], value: str, python: str, is_plain: Callable[[str], str]
    ) -> str | None:
        """The branch for texts near the bound; None if all of them may be near."""
        inside = _INSIDE[self.sign]
        if len(self.text) <= _DAY_CHARS:
            begins = f"WHEN substr({value}, 1, {len(self.text)}) = {bind(self.text)}"
            if self.sign in {"lt", "gte"}:  # code point order says the same
                return f"{begins} THEN {inside}"
            return f"{begins} THEN CASE WHEN {is_plain(value)} THEN {inside} ELSE {python} END"
        margin = timedelta(0) if self.bound.offset is None else _MARGIN
        try:
            first = _day(self.bound.start) - margin
            last = _day(self.bound.end) + margin + timedelta(days=1)
        except OverflowError:
            return None
        return f"WHEN {value} >= {bind(str(first))} AND {value} < {bind(str(last))} THEN {python}"


def is_plain_date(value: str) -> str:
    """Whether a text that begins with four digits is a day, or a day with a time in seconds, for sure.

    Python may still find that another text is a date.
    """
    day, time, offset = f"substr({value}, 1, 10)", f"substr({value}, 12, 8)", f"substr({value}, 20)"
    is_day = f"{value} >= '0001' AND date({day}) IS {day}"
    is_time = f"substr({value}, 11, 1) = 'T' AND time({time}) IS {time} AND {time} < '24'"
    is_offset = f"length({value}) = 19 OR {offset} = 'Z' OR {offset} GLOB '[+-][01][0-9]:[0-5][0-9]'"
    return f"({is_day} AND (length({value}) = 10 OR ({is_time} AND ({is_offset}))))"


def _day(microseconds: int) -> date:
    return (datetime.min + timedelta(microseconds=microseconds)).date()
