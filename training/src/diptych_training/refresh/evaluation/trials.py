"""Choose a training and a weight by the user's held-out pictures, and judge each picture by a choice made
without its caption.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych_training.refresh.evaluation.results import Evaluation, MixResult, OwnChange, SetResult
from diptych_training.schema import Frozen

N_PARTS = 5  # of the captions: each is judged by what the others choose
UNKNOWN = -1  # the rank of a picture that was not judged
FOLDS_FILE = "folds.json"
Mask = NDArray[np.bool_]  # (N,)


class FoldScore(Frozen):
    """A model that learned without a fold at this rate, for so many steps and mixed at this weight, on the
    pictures of the fold: ranks as in `SetResult`.
    """

    fold: int
    rate: float
    steps: int
    alpha: float
    ranks: tuple[int, ...]
    ranks_among_all: tuple[int, ...]


class FoldScores(Frozen):
    """All models of the folds. `sizes` has the number of pictures of each fold, `seconds` how long the models
    took. `rejected`: rates and steps that are not to be chosen (`without`).
    """

    inputs: str
    sizes: dict[int, int]
    seconds: float = 0.0
    scores: tuple[FoldScore, ...] = ()
    rejected: tuple[tuple[float, int], ...] = ()

    def trials(self) -> list["Trial"]:
        """The models of one rate, number of steps and weight as one trial on the pictures of all folds.

        A weight that some model was not judged with is left out: `--alpha` may have been given midway. So are
        rejected trainings.
        """
        models = {(one.fold, one.rate, one.steps) for one in self.scores}
        n_judged = Counter(one.alpha for one in self.scores)
        judged = [
            one
            for one in self.scores
            if n_judged[one.alpha] == len(models) and (one.rate, one.steps) not in self.rejected
        ]
        found = {(one.rate, one.steps, one.alpha, one.fold): one for one in judged}
        trials = []
        # The most cautious first: the rate of a training comes down by its last steps, which lose least.
        tried = sorted({key[:3] for key in found}, key=lambda key: (key[2], -key[1], key[0]))
        for rate, steps, alpha in tried:
            alone: list[int] = []
            among_all: list[int] = []
            for fold, size in sorted(self.sizes.items()):
                score = found.get((rate, steps, alpha, fold))
                alone += [UNKNOWN] * size if score is None else score.ranks
                among_all += [UNKNOWN] * size if score is None else score.ranks_among_all
            trials.append(Trial(alpha, tuple(alone), tuple(among_all), rate, steps))
        return trials

    def without(self, training: "Trial") -> "FoldScores | None":
        """The scores with this training rejected, and other rates too, which some folds do not know; None if
        no training is left.
        """
        steps = {one.steps for one in self.trials() if one.rate == training.rate} - {training.steps}
        tried = {(one.rate, one.steps) for one in self.scores}
        rejected = sorted(tried - {(training.rate, one) for one in steps})
        return self.model_copy(update={"rejected": tuple(rejected)}) if steps else None


@dataclass(frozen=True)
class Trial:
    """One training and weight on the user's N held-out pictures: ranks as in `SetResult`, UNKNOWN where a
    picture was not judged. `rate` and `steps` are 0 where there is one training.
    """

    alpha: float
    ranks: tuple[int, ...]
    ranks_among_all: tuple[int, ...]
    rate: float = 0.0
    steps: int = 0


def trial_of(mix: MixResult) -> Trial:
    """The trial of a mix that was judged on held-out pictures."""
    assert mix.own is not None
    assert mix.own_among_all is not None
    return Trial(mix.alpha, mix.own.ranks, mix.own_among_all.ranks)


class Trials:
    """Trials to choose from, the most cautious first, which ties go to; `old` is the model before.

    All weights choose the training, since it has to run before its losses on the shipped pictures are known:
    `FoldScores.without` leaves out one that ran and lost too much. The weight is one of the `admissible` ones
    (None: all).
    """

    def __init__(
        self, tried: Sequence[Trial], old: Trial | None = None, admissible: Collection[float] | None = None
    ) -> None:
        self.tried, self._old, self._admissible = list(tried), old, admissible
        self._known = np.array([one.ranks for one in self.tried], dtype=np.int64) != UNKNOWN  # (T, N)
        self._hits = np.array([_hits(one) for one in self.tried])

    def choose(self, pictures: Mask, needed: Mask) -> Trial:
        """The trial with the most hits on these pictures, of those that know all `needed` ones. A hit among
        all labels counts in addition to one among the user's.

        First the rate, by pictures that all of them know; then the steps, by those that this rate knows; then
        the weight.
        """
        able = [row for row, known in enumerate(self._known) if known[needed].all()]
        rows = self._admissible_rows(able, pictures) if able else []
        if not rows:
            assert self._old is not None
            return self._old
        common = self._common(rows, pictures)
        best = self._best(rows, pictures)
        if self._old is not None and _hits(self._old)[common].sum() >= self._hits[best][common].sum():
            return self._old
        return self.tried[best]

    def _admissible_rows(self, able: Sequence[int], pictures: Mask) -> list[int]:
        """The rows of the training that these pictures choose, with admissible weights."""
        rate = self.tried[self._best(able, pictures)].rate
        of_rate = [row for row in able if self.tried[row].rate == rate]
        training = self.tried[self._best(of_rate, pictures)]
        of_training = [row for row in of_rate if self.tried[row].steps == training.steps]
        allowed = self._admissible
        return [row for row in of_training if allowed is None or self.tried[row].alpha in allowed]

    def _common(self, rows: Sequence[int], pictures: Mask) -> Mask:
        common: Mask = pictures & self._known[rows].all(axis=0)
        return common

    def _best(self, rows: Sequence[int], pictures: Mask) -> int:
        hits = self._hits[rows][:, self._common(rows, pictures)].sum(axis=1)
        return rows[int(hits.argmax())]

    def without_own_part(self, captions: Sequence[int]) -> list[Trial]:
        """For each picture, the trial that the captions of the other parts choose."""
        part = np.array(captions) % N_PARTS
        known = self._known.T  # (N, T)
        chosen: list[Trial | None] = [None] * len(part)
        for number in np.unique(part):
            for pattern in np.unique(known[part == number], axis=0):
                group: Mask = (part == number) & (known == pattern).all(axis=1)
                found = self.choose(part != number, group)
                for row in np.flatnonzero(group):
                    chosen[row] = found
        return [one for one in chosen if one is not None]

    def median_alpha(self, captions: Sequence[int]) -> float:
        """The median of the weights that all but one part of the captions choose; the lower one of two."""
        part, everywhere = np.array(captions) % N_PARTS, np.ones(len(captions), dtype=np.bool_)
        alphas = sorted(self.choose(part != number, everywhere).alpha for number in np.unique(part))
        return alphas[(len(alphas) - 1) // 2]


def _hits(trial: Trial) -> NDArray[np.int64]:
    """(N,): in how many of both sets of labels each picture is right."""
    ranks = np.array([trial.ranks, trial.ranks_among_all], dtype=np.int64)
    hits: NDArray[np.int64] = (ranks == 0).sum(axis=0)
    return hits


def best_training(scores: FoldScores) -> Trial:
    """The rate and the steps that are right most often so far, among the user's labels and among all."""
    trials = Trials(scores.trials())
    n = sum(scores.sizes.values())
    return trials.choose(np.ones(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_))


def own_change(evaluation: Evaluation, chosen: Sequence[Trial]) -> OwnChange | None:
    """The user's pictures with the old model, and each with the trial that was chosen for it."""
    old, among_all = evaluation.old.own, evaluation.old.own_among_all
    if old is None or among_all is None:
        return None
    ranks = tuple(trial.ranks[row] for row, trial in enumerate(chosen))
    ranks_among_all = tuple(trial.ranks_among_all[row] for row, trial in enumerate(chosen))
    return OwnChange(old, _with(old, ranks), among_all, _with(among_all, ranks_among_all))


def _with(old: SetResult, ranks: tuple[int, ...]) -> SetResult:
    return old.model_copy(update={"ranks": ranks, "text_to_image": {}, "image_to_text": {}})


def with_folds(evaluation: Evaluation, trials: Sequence[Trial], training: Trial) -> Evaluation:
    """The evaluation with the models of the folds on the user's pictures, in place of the published one,
    which has learned from them.
    """
    by_alpha = {one.alpha: one for one in trials if (one.rate, one.steps) == (training.rate, training.steps)}
    old, among_all = evaluation.old.own, evaluation.old.own_among_all
    assert old is not None
    assert among_all is not None

    def judged(mix: MixResult) -> MixResult:
        trial = by_alpha.get(mix.alpha)
        if mix is evaluation.old:
            return mix
        own = None if trial is None else _with(old, trial.ranks)
        other = None if trial is None else _with(among_all, trial.ranks_among_all)
        return mix.model_copy(update={"own": own, "own_among_all": other})

    return evaluation.model_copy(update={"mixes": tuple(map(judged, evaluation.mixes))})
