"""The difference between two models on the same pictures, with a confidence interval.

The interval is Wald's with the Laplace adjustment of Bonett and Price (2012), which Fagerland, Lydersen and
Laake (2014) recommend for paired proportions: of n pictures, b are right only with the new model and c only
with the old one, p = (b + 1) / (n + 2), q = (c + 1) / (n + 2), and the interval is p - q +- z sqrt((p + q -
(p - q)^2) / (n + 2)). It counts pictures as independent; pictures of one label tend to change together, so
that the interval of a set with few labels is too narrow.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Literal

from pydantic import BaseModel

from diptych_training.data.packed import Kind
from diptych_training.errors import EvaluationError
from diptych_training.files import write_text
from diptych_training.schema import Frozen, Record, read_record

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


EVALUATION_FILE = "judged.json"
MIN_OWN_PAIRS = 200  # below, nothing is chosen by the user's pairs
POINTS = 100  # points of a share


class SetResult(Frozen):
    """One model on one set of pictures.

    `ranks`: for each picture, the number of wrong labels that score at least as high as its best right one,
    of `n_labels` candidates. The recalls are shares from 0 to 1 by k.
    """

    n_labels: int
    ranks: tuple[int, ...]
    text_to_image: dict[int, float]
    image_to_text: dict[int, float]

    @property
    def n(self) -> int:
        """The number of pictures."""
        return len(self.ranks)

    def hits(self, k: int = 1) -> list[bool]:
        """Whether a right label is among the first k, for each picture."""
        return [rank < k for rank in self.ranks]

    def top(self, k: int) -> float:
        """Zero-shot top-k accuracy, from 0 to 1."""
        return sum(self.hits(k)) / self.n


class MixResult(Frozen):
    """One mix of the old weights (alpha 0) and the tuned ones (alpha 1), on all sets.

    `own` is None if no pair of the user's is held out. `kinds` are parts of the shipped set.
    """

    alpha: float
    own: SetResult | None
    shipped: SetResult
    kinds: dict[Kind, SetResult]


class Evaluation(Frozen):
    """All measured mixes, in ascending order of alpha, the first of which is the old model.

    `inputs` is a sha256 of everything measured: weights, sets, and how texts and images are prepared.
    `n_own_pairs` counts the user's usable pairs, those trained on included.
    """

    schema_version: Literal[1] = 1
    inputs: str
    own: str
    shipped: str
    n_own_pairs: int
    mixes: tuple[MixResult, ...]

    @property
    def old(self) -> MixResult:
        """The old model."""
        return self.mixes[0]

    @property
    def is_too_few(self) -> bool:
        """Whether the user's pairs are too few to judge by."""
        return self.n_own_pairs < MIN_OWN_PAIRS

    def at(self, alpha: float) -> MixResult:
        """The mix of this alpha. Raises EvaluationError if it was not measured."""
        for mix in self.mixes:
            if mix.alpha == alpha:
                return mix
        measured = ", ".join(f"{mix.alpha:g}" for mix in self.mixes)
        raise EvaluationError(f"alpha {alpha:g} was not measured; measured are {measured}")

    def own_difference(self, alpha: float) -> Difference | None:
        """Top-1 on the user's held-out pairs, old against this mix; None if there are none."""
        old, new = self.old.own, self.at(alpha).own
        return None if old is None or new is None else _difference(old, new)

    def shipped_difference(self, alpha: float) -> Difference:
        """Top-1 on the whole shipped set, old against this mix."""
        return _difference(self.old.shipped, self.at(alpha).shipped)

    def kind_differences(self, alpha: float) -> Iterator[tuple[Kind, Difference]]:
        """Top-1 on each kind of the shipped set, old against this mix."""
        for kind, new in self.at(alpha).kinds.items():
            yield kind, _difference(self.old.kinds[kind], new)

    def loss_points(self, alpha: float) -> float:
        """Points of top-1 that this mix loses on the shipped set; negative if it gains."""
        return -POINTS * self.shipped_difference(alpha).change


def read_stored(file: Path, kind: type[Record]) -> Record:
    """Read results that were stored as JSON. Raises EvaluationError naming file and key."""
    return read_record(file, kind, EvaluationError, "; remove the file to measure again")


def write_stored(file: Path, results: BaseModel) -> None:
    """Store results as JSON, atomically."""
    write_text(file, f"{results.model_dump_json()}\n")


def _difference(old: SetResult, new: SetResult) -> Difference:
    return paired_difference(old.hits(), new.hits())
