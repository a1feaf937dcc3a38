"""Measured mixes of old and new weights, stored as data, and what they gain and lose."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from diptych_training.errors import EvaluationError
from diptych_training.files import write_text
from diptych_training.refresh.evaluation.difference import Difference, paired_difference
from diptych_training.schema import Frozen, Record, read_record

EVALUATION_FILE = "judged.json"
MIN_OWN_PAIRS = 200  # below, each of the user's pairs is held out once, in folds
POINTS = 100  # points of a share
Part = Literal["drawings", "photographs"]  # of the shipped set


class SetResult(Frozen):
    """One model on one set of pictures.

    `ranks`: for each picture, the number of wrong labels that score at least as high as its best right one,
    of `n_labels` candidates; a negative one, of a picture that was not judged, is never a hit. `captions`
    numbers the captions: pictures of one have the same number. The recalls are shares from 0 to 1 by k.
    """

    n_labels: int
    ranks: tuple[int, ...]
    captions: tuple[int, ...]
    text_to_image: dict[int, float]
    image_to_text: dict[int, float]

    @property
    def n(self) -> int:
        """The number of pictures."""
        return len(self.ranks)

    def hits(self, k: int = 1) -> list[bool]:
        """Whether a right label is among the first k, for each picture."""
        return [0 <= rank < k for rank in self.ranks]

    def top(self, k: int) -> float:
        """Zero-shot top-k accuracy, from 0 to 1."""
        return sum(self.hits(k)) / self.n


class MixResult(Frozen):
    """One mix of the old weights (alpha 0) and the tuned ones (alpha 1), on all sets.

    `own` is None if no pair of the user's is held out; `own_among_all` has the shipped labels as further
    candidates. `parts` are those of the shipped set that have pictures.
    """

    alpha: float
    own: SetResult | None
    own_among_all: SetResult | None
    shipped: SetResult
    parts: dict[Part, SetResult]


@dataclass(frozen=True)
class OwnChange:
    """The user's held-out pictures with the old model, and each with one that was chosen without its caption:
    among the user's labels, and among these and the shipped ones.
    """

    old: SetResult
    new: SetResult
    old_among_all: SetResult
    new_among_all: SetResult

    @property
    def difference(self) -> Difference:
        """Top-1 among the user's labels."""
        return _difference(self.old, self.new)

    @property
    def among_all(self) -> Difference:
        """Top-1 among all labels."""
        return _difference(self.old_among_all, self.new_among_all)


class Evaluation(Frozen):
    """All measured mixes, in ascending order of alpha, the first of which is the old model.

    `inputs` is a sha256 of everything measured: weights, sets, and how texts and images are prepared.
    `n_own_pairs` counts the user's usable pairs, those trained on included; `n_photographs` the photographs
    of which the shipped set has crops, None if it has none or no crops.
    """

    schema_version: Literal[2] = 2
    inputs: str
    own: str
    shipped: str
    n_own_pairs: int
    n_photographs: int | None
    mixes: tuple[MixResult, ...]

    @property
    def old(self) -> MixResult:
        """The old model."""
        return self.mixes[0]

    def at(self, alpha: float) -> MixResult:
        """The mix of this alpha. Raises EvaluationError if it was not measured."""
        for mix in self.mixes:
            if mix.alpha == alpha:
                return mix
        measured = ", ".join(f"{mix.alpha:g}" for mix in self.mixes)
        raise EvaluationError(f"alpha {alpha:g} was not measured; measured are {measured}")

    def shipped_difference(self, alpha: float) -> Difference:
        """Top-1 on the whole shipped set, old against this mix."""
        return _difference(self.old.shipped, self.at(alpha).shipped)

    def part_differences(self, alpha: float) -> Iterator[tuple[Part, Difference]]:
        """Top-1 on each part of the shipped set, old against this mix."""
        for part, new in self.at(alpha).parts.items():
            yield part, _difference(self.old.parts[part], new)


def read_stored(file: Path, kind: type[Record]) -> Record:
    """Read results that were stored as JSON. Raises EvaluationError naming file and key."""
    return read_record(file, kind, EvaluationError, "; remove the file to measure again")


def write_stored(file: Path, results: BaseModel) -> None:
    """Store results as JSON, atomically."""
    write_text(file, f"{results.model_dump_json()}\n")


def _difference(old: SetResult, new: SetResult) -> Difference:
    return paired_difference(old.hits(), new.hits(), old.captions)
