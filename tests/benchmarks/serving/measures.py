"""What a window's numbers come to; knows nothing of where they were taken."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """One request: seconds on one clock, from the first byte sent to the last byte received."""

    start: float
    end: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all are not above (nearest rank). `values` is not empty."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * share // 1))  # rounded up
    return ordered[int(rank) - 1]


def median(values: Sequence[float]) -> float:
    """The middle, or the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def rate(spans: Sequence[Span], begin: float, end: float) -> float:
    """Requests a second between `begin` and `end`, those at the edges counted by the part that is inside.

    Answers come in bursts of a batch: whole requests would make a short window wrong by a batch or two.
    """
    inside = (_share_inside(span, begin, end) for span in spans)
    return sum(inside) / (end - begin)


def _share_inside(span: Span, begin: float, end: float) -> float:
    overlap = min(span.end, end) - max(span.start, begin)
    length = span.end - span.start
    if overlap <= 0:
        return 0.0
    return overlap / length if length > 0 else 1.0
