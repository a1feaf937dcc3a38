"""Fits of measured points: images to reach an accuracy, power laws, intervals; and how figures
look.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from diptych_training.evaluate.benchmark.summary import Curve, to_reach

COLOURS = ("#1f5f8f", "#d1495b", "#3a8f5c", "#f2a541", "#7a4fa3", "#00798c", "#8c6d46", "#666666")
INK = "#333333"


def style_axis(axis: Axes) -> None:
    """Pale grid, no frame."""
    axis.grid(color="#e6e6e6", lw=0.7, zorder=0)
    axis.tick_params(length=0, labelsize=8, colors=INK)
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)


Floats = NDArray[np.float64]
N_RESAMPLES = 2000
LEVEL = 0.95


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
