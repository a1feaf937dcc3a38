"""The straight line through values over time, by least squares; knows nothing of what they are."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """`start` at `begin_s`, and how much more each second."""

    begin_s: float
    end_s: float
    start: float
    slope: float

    @property
    def per_hour(self) -> float:
        """How much more in an hour."""
        return self.slope * 3600

    @property
    def growth(self) -> float:
        """From its begin to its end, as a share of its start."""
        return self.slope * (self.end_s - self.begin_s) / self.start

    def at(self, seconds: float) -> float:
        """Its value then."""
        return self.start + self.slope * (seconds - self.begin_s)


def line(times_s: Sequence[float], values: Sequence[float]) -> Line | None:
    """None when there are less than two times."""
    if len(set(times_s)) < 2:
        return None
    middle_s, middle = _mean(times_s), _mean(values)
    spread = sum((time_s - middle_s) ** 2 for time_s in times_s)
    together = sum(
        (time_s - middle_s) * (value - middle) for time_s, value in zip(times_s, values, strict=True)
    )
    slope, begin_s = together / spread, min(times_s)
    return Line(begin_s, max(times_s), middle + slope * (begin_s - middle_s), slope)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
