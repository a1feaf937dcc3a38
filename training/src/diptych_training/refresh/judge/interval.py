"""The difference between two models on the same pictures, with a confidence interval.

The interval is Wald's with the Laplace adjustment of Bonett and Price (2012), which Fagerland, Lydersen and
Laake (2014) recommend for paired proportions: of n pictures, b are right only with the new model and c only
with the old one, p = (b + 1) / (n + 2), q = (c + 1) / (n + 2), and the interval is p - q +- z sqrt((p + q -
(p - q)^2) / (n + 2)). It counts pictures as independent; pictures of one label tend to change together, so
that the interval of a set with few labels is too narrow.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

from diptych_training.schema import Frozen

CONFIDENCE = 0.95
METHOD = "95% interval of paired proportions (Bonett and Price 2012)"
Verdict = Literal["better", "worse", "no clear change"]


class Difference(Frozen):
    """Accuracies of two models on the same n pictures, from 0 to 1, and the interval of their difference.

    `n_gained` pictures are right only with the new model, `n_lost` only with the old one.
    """

    n: int
    old: float
    new: float
    low: float
    high: float
    n_gained: int
    n_lost: int

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


def paired_difference(old: Sequence[bool], new: Sequence[bool]) -> Difference:
    """Compare which of the same n >= 1 pictures each model gets right. Raises ValueError if n is 0 or
    differs."""
    n = len(old)
    if n == 0:
        raise ValueError("the difference on no pictures is undefined")
    n_gained = sum(after and not before for before, after in zip(old, new, strict=True))
    n_lost = sum(before and not after for before, after in zip(old, new, strict=True))
    gained, lost = (n_gained + 1) / (n + 2), (n_lost + 1) / (n + 2)
    middle = gained - lost
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    half = z * ((gained + lost - middle**2) / (n + 2)) ** 0.5
    return Difference(
        n=n,
        old=sum(old) / n,
        new=sum(new) / n,
        low=max(-1.0, middle - half),
        high=min(1.0, middle + half),
        n_gained=n_gained,
        n_lost=n_lost,
    )
