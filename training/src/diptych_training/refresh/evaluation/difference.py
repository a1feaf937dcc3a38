"""The difference between two models on the same pictures, with a confidence interval that counts captions.

Pictures of one caption tend to change together, so that they are no independent evidence. The mean over
pictures is a ratio of two sums over captions; its interval is that of the ratio estimator for clusters of
unequal sizes (Cochran 1977, chapter 9A) with Student's t. With few captions, or values that are nearly all
the same, the estimated error is too small, down to 0: one caption of mean size is added, half at the lowest
value and half at the highest one, as Bonett and Price (2012) and Agresti and Coull (1998) add single
outcomes. The degrees of freedom are those of all captions with the added one, minus one.

By simulation with 5 captions of equal and of very unequal numbers of pictures, the 95% intervals cover the
truth in 92% to 100% of samples; without the addition in 51% to 97%, a bootstrap of captions in 58% to 88%.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from diptych_training.schema import Frozen

CONFIDENCE = 0.95
METHOD = "95% interval of the ratio estimator for clusters, which are captions"
Verdict = Literal["better", "worse", "no clear change"]
N_HALVINGS = 60  # of an angle, to the precision of a float


class Difference(Frozen):
    """Accuracies of two models on the same n pictures, from 0 to 1, and the interval of their difference.

    `n_gained` pictures are right only with the new model, `n_lost` only with the old one. `new_low` and
    `new_high` are the interval of the new accuracy. `unresolved` is the loss that these captions are too few
    to exclude even if no picture changes.
    """

    n: int
    n_captions: int
    old: float
    new: float
    new_low: float
    new_high: float
    low: float
    high: float
    n_gained: int
    n_lost: int
    unresolved: float

    @property
    def change(self) -> float:
        """The new accuracy minus the old one."""
        return (self.n_gained - self.n_lost) / self.n

    @property
    def verdict(self) -> Verdict:
        """Whether the interval excludes zero, and on which side."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no clear change"


def paired_difference(old: Sequence[bool], new: Sequence[bool], captions: Sequence[int]) -> Difference:
    """Compare which of the same n >= 1 pictures each model gets right; `captions` numbers their captions.

    Raises ValueError if there are no pictures.
    """
    before, after = (np.asarray(hits, dtype=np.float64) for hits in (old, new))
    low, high = clustered_interval(after - before, captions, -1, 1)
    new_low, new_high = clustered_interval(after, captions, 0, 1)
    return Difference(
        n=len(before),
        n_captions=len(set(captions)),
        old=float(before.mean()),
        new=float(after.mean()),
        new_low=new_low,
        new_high=new_high,
        low=low,
        high=high,
        n_gained=int((after > before).sum()),
        n_lost=int((after < before).sum()),
        unresolved=-clustered_interval(np.zeros(len(before)), captions, -1, 1)[0],
    )


def clustered_interval(
    values: ArrayLike, clusters: Sequence[int], lowest: float, highest: float
) -> tuple[float, float]:
    """The interval of the mean of n values from `lowest` to `highest`, which belong to numbered clusters.

    Raises ValueError if there are no values.
    """
    if not len(clusters):
        raise ValueError("the interval of no values is undefined")
    number = np.unique(clusters, return_inverse=True)[1]
    sizes, sums = np.bincount(number), np.bincount(number, weights=np.asarray(values, dtype=np.float64))
    size, n_clusters = sizes.mean(), len(sizes) + 1  # one is added
    total = sizes.sum() + size
    ratio = (sums.sum() + size * (lowest + highest) / 2) / total
    added = size**2 * ((highest - ratio) ** 2 + (lowest - ratio) ** 2) / 2
    squares = ((sums - ratio * sizes) ** 2).sum() + added
    half = student_t(n_clusters - 1) * math.sqrt(n_clusters / (n_clusters - 1) * squares) / total
    return max(lowest, float(ratio - half)), min(highest, float(ratio + half))


def captions_needed(loss: float) -> int:
    """How many captions of equal numbers of pictures can exclude a loss above `loss`, if nothing changes."""
    n = 1
    while student_t(n) / math.sqrt(n * (n + 1)) > loss:
        n += 1
    return n


@cache
def student_t(dof: int) -> float:
    """The t that bounds CONFIDENCE of Student's distribution on both sides, for whole degrees of freedom."""
    low, high = 0.0, math.pi / 2
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _share_within(middle, dof) < CONFIDENCE else (low, middle)
    return math.sqrt(dof) * math.tan(low)


def _share_within(angle: float, dof: int) -> float:
    """P(|T| < sqrt(dof) tan(angle)): Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    is_odd = dof % 2
    sine, cosine = math.sin(angle), math.cos(angle)
    term, series = cosine if is_odd else 1.0, 0.0
    for k in range(2 + is_odd, dof + 1, 2):
        series += term
        term *= cosine**2 * (k - 1) / k
    return 2 / math.pi * (angle + sine * series) if is_odd else sine * series
