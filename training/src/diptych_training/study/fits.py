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


def line(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """(N,) and (..., N) -> (...) slopes and values at 0, by least squares."""
    centred = x - x.mean()
    slope = y @ centred / (centred @ centred)
    return slope, y.mean(axis=-1) - slope * x.mean()


def power_law(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> PowerLaw:
    """Least squares on logarithms, from two points up; all must be positive."""
    log_x, log_y = np.log(np.asarray(x)), np.log(np.asarray(y))
    exponent, intercept = map(float, line(log_x, log_y))
    residual = log_y - (intercept + exponent * log_x)
    spread = log_y - log_y.mean()
    r2 = 1 - float(residual @ residual) / float(spread @ spread) if spread.any() else 1.0
    return PowerLaw(math.exp(intercept), exponent, r2)


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval of 95 per cent."""

    low: float
    high: float

    def percent(self, sign: str = "") -> str:
        """In per cent, as a phrase; `sign` is "+" if positive numbers have one."""
        return f"{100 * self.low:{sign}.1f} to {100 * self.high:{sign}.1f}"


@dataclass(frozen=True)
class Redraw:
    """R times data sets drawn again with replacement, by kind; `rng` draws seeds and pictures."""

    sets: NDArray[np.int64]  # (R, D) their numbers
    rng: np.random.Generator


@dataclass(frozen=True)
class Measured:
    """A figure on D data sets with each of S seeds: values and their standard errors over pictures."""

    values: Floats  # (S, ..., D)
    errors: Floats  # (S, ..., D)
    kinds: tuple[str, ...]  # (D,) of the data sets

    def mean(self) -> Floats:
        """(...): over seeds and data sets."""
        return np.asarray(self.values.mean(axis=(0, -1)))

    def redrawn(self, draw: Redraw) -> Floats:
        """(R, ...): the means over the seeds, sets and pictures drawn again."""
        (n_draws, n_sets), n = draw.sets.shape, len(self.values)
        seeds = draw.rng.integers(n, size=(n_draws, n))
        sets = draw.sets.reshape(n_draws, *[1] * (self.values.ndim - 1), n_sets)
        values, errors = (
            np.take_along_axis(part[seeds], sets, axis=-1) for part in (self.values, self.errors)
        )
        noise = errors * draw.rng.standard_normal(values.shape)
        return np.asarray((values + noise).mean(axis=(1, -1)))

    def interval(self) -> Interval:
        """Of the mean."""
        return over_data_sets(self.kinds, self.redrawn)

    def at(self, place: int) -> "Measured":
        """One of the figures of `(S, P, D)`."""
        return Measured(self.values[:, place], self.errors[:, place], self.kinds)


def of_shares(values: Floats, n: Floats, kinds: Sequence[str]) -> Measured:
    """Shares of (..., D) pictures."""
    return Measured(values, np.sqrt(values * (1 - values) / n), tuple(kinds))


def over_data_sets(kinds: Sequence[str], figure: Callable[[Redraw], Floats | Sequence[float]]) -> Interval:
    """The interval of a figure (R,) when data sets and pictures are drawn again. The draws are the same each
    time.

    `kinds` are those of the data sets: of each kind, as many are drawn as there are.
    """
    rng, of_kind = np.random.default_rng(0), np.asarray(kinds)
    numbers = [np.flatnonzero(of_kind == kind) for kind in dict.fromkeys(kinds)]
    sets = np.concatenate([rng.choice(own, size=(N_RESAMPLES, len(own))) for own in numbers], axis=1)
    values = np.asarray(figure(Redraw(sets, rng)))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="nearest")  # also with infinite values
    return Interval(float(low), float(high))
