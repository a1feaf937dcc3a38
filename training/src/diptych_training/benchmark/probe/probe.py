"""Probes of one data set: on all training pictures, and on a few of each class."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych_training.benchmark.probe.logistic import Labelled, fit
from diptych_training.benchmark.probe.sweep import FINEST, STEPS_PER_DECADE, Sweep

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
