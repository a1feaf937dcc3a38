"""What is read off measured points: images to reach an accuracy, power laws, intervals over data sets."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Curve = Sequence[tuple[float, float]]  # images (or examples) and what they give, fewest first
N_RESAMPLES = 2000
LEVEL = 0.95


def to_reach(curve: Curve, level: float) -> float:
    """With how many images a curve first reaches a level, interpolated on a logarithmic scale.

    The first point's number if that is there already, infinity if no point is.
    """
    (first, start), *_ = curve
    if start >= level:
        return first
    for (few, low), (many, high) in pairwise(curve):
        if low < level <= high:
            share = (level - low) / (high - low)
            return math.exp(math.log(few) + share * (math.log(many) - math.log(few)))
    return math.inf


def factor(slow: Curve, fast: Curve) -> float:
    """How many times fewer images `fast` needs for the accuracy that `slow` ends at; 0 if it never has it."""
    images, level = slow[-1]
    return images / to_reach(fast, level)


@dataclass(frozen=True)
class PowerLaw:
    """y = scale * x ** exponent, fitted as a line through the logarithms; `r2` is of the logarithms."""

    scale: float
    exponent: float
    r2: float

    def __call__(self, x: float) -> float:
        """The fitted y."""
        return self.scale * float(x**self.exponent)


def power_law(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> PowerLaw:
    """Least squares on logarithms, from two points up; all must be positive."""
    log_x, log_y = np.log(np.asarray(x)), np.log(np.asarray(y))
    exponent, intercept = np.polyfit(log_x, log_y, 1)
    residual = log_y - (intercept + exponent * log_x)
    spread = log_y - log_y.mean()
    r2 = 1 - float(residual @ residual) / float(spread @ spread) if spread.any() else 1.0
    return PowerLaw(math.exp(intercept), float(exponent), r2)


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval of 95 per cent."""

    low: float
    high: float

    def percent(self, sign: str = "") -> str:
        """In per cent, as a phrase; `sign` is "+" if positive numbers have one."""
        return f"{100 * self.low:{sign}.1f} to {100 * self.high:{sign}.1f}"


def over_data_sets(n_sets: int, figure: Callable[[NDArray[np.int64]], float]) -> Interval:
    """The interval of a figure when the data sets are drawn again with replacement.

    `figure` gets the (n_sets,) numbers of the data sets drawn. The draws are the same each time.
    """
    rng = np.random.default_rng(0)
    values = [figure(rng.integers(n_sets, size=n_sets)) for _ in range(N_RESAMPLES)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="nearest")  # also with infinite values
    return Interval(float(low), float(high))


def of_mean(values: Floats) -> Interval:
    """The interval of the mean over (D,) data sets."""
    return over_data_sets(len(values), lambda drawn: float(values[drawn].mean()))
