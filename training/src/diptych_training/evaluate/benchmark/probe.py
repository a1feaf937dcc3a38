"""Linear probes on embeddings, as in Radford et al. 2021, appendix A.3, and few-shot probes (section 3.1.3).

The strength of regularisation is chosen on validation pictures, by a search on a logarithmic grid.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from diptych_training.evaluate.benchmark.logistic import Labelled, LinearClassifier, fit

STEPS_PER_DECADE = 8
LOWEST, HIGHEST = -6 * STEPS_PER_DECADE, 6 * STEPS_PER_DECADE  # 1e-6 to 1e6
COARSEST = 2 * STEPS_PER_DECADE  # the first strengths are two decades apart
FINEST = 1


@dataclass
class Sweep:
    """Tries strengths, each once, and remembers how many validation pictures were right."""

    train: Labelled
    validation: Labelled
    n_classes: int
    _tried: dict[int, tuple[int, LinearClassifier]] = field(default_factory=dict)

    def best(self, finest: int = FINEST) -> float:
        """The strength with the most right answers; of equal ones the strongest.

        Seven strengths two decades apart are tried, then those half as far apart around the best one, down to
        `finest` steps of an eighth of a decade.
        """
        step = COARSEST
        self._try(range(LOWEST, HIGHEST + 1, step))
        while step > finest:
            step //= 2
            best = self._best_place()
            self._try(place for place in (best - step, best + step) if LOWEST <= place <= HIGHEST)
        return strength(self._best_place())

    def _try(self, places: Iterable[int]) -> None:
        """From strong to weak: the stronger a fit, the faster it is, and the next one starts there."""
        for place in sorted(set(places) - self._tried.keys(), reverse=True):
            stronger = min((other for other in self._tried if other > place), default=None)
            start = None if stronger is None else self._tried[stronger][1]
            fitted = fit(self.train, self.n_classes, strength(place), start)
            answers = fitted.scores(self.validation.features).argmax(axis=1)
            self._tried[place] = int((answers == self.validation.labels).sum()), fitted

    def _best_place(self) -> int:
        return max(self._tried, key=lambda place: (self._tried[place][0], place))


def strength(place: int) -> float:
    """The strength at a place on the grid."""
    return float(10 ** (place / STEPS_PER_DECADE))


HELD_OUT = 5  # every fifth training picture of a class validates where there are no validation pictures
FEW_SHOT_FINEST = STEPS_PER_DECADE // 2
Score = Callable[[NDArray[np.float32]], dict[str, float]]  # scores (N, C) of the test pictures -> metrics


@dataclass(frozen=True)
class Parts:
    """Training, validation and test pictures of C classes; `score` is of the scores of the test pictures."""

    train: Labelled
    validation: Labelled
    test: NDArray[np.float32]
    n_classes: int
    score: Score


@dataclass(frozen=True)
class Probed:
    """The metrics of one probe, and the strength that it was regularised with."""

    metrics: dict[str, float]
    l2: float


def split_train(train: Labelled) -> tuple[Labelled, Labelled]:
    """Training and validation pictures of a set without the latter: every fifth picture of each class."""
    place = np.zeros(len(train.labels), dtype=np.int64)  # of each picture within its class
    for label in np.unique(train.labels):
        own = np.flatnonzero(train.labels == label)
        place[own] = np.arange(len(own))
    held_out = place % HELD_OUT == HELD_OUT - 1
    return train.part(np.flatnonzero(~held_out)), train.part(np.flatnonzero(held_out))


def probe(parts: Parts) -> Probed:
    """Choose the strength on validation pictures, then fit on training and validation pictures together."""
    l2 = Sweep(parts.train, parts.validation, parts.n_classes).best(FINEST)
    fitted = fit(parts.train.joined(parts.validation), parts.n_classes, l2)
    return Probed(parts.score(fitted.scores(parts.test)), l2)


def few_shot(parts: Parts, shots: Sequence[int], seeds: int) -> Iterator[tuple[int, int, Probed]]:
    """A probe on k pictures of each class, for each k that every class has and each seed: (k, seed, probe).

    The strength is chosen on all validation pictures, to half a decade.
    """
    n_least = int(np.bincount(parts.train.labels, minlength=parts.n_classes).min())
    for k in shots:
        for seed in range(seeds) if k <= n_least else ():
            train = parts.train.part(_drawn(parts.train.labels, k, seed))
            l2 = Sweep(train, parts.validation, parts.n_classes).best(FEW_SHOT_FINEST)
            fitted = fit(train, parts.n_classes, l2)
            yield k, seed, Probed(parts.score(fitted.scores(parts.test)), l2)


def _drawn(labels: NDArray[np.int64], k: int, seed: int) -> NDArray[np.int64]:
    """Numbers of k pictures of each class, drawn at random; fewer shots are the first of more."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    chosen = [order[labels[order] == label][:k] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))
