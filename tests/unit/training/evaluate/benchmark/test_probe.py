"""Logistic regression against scikit-learn's, the search for its strength, and draws of few pictures."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from diptych_training.evaluate.benchmark.logistic import Labelled, fit
from diptych_training.evaluate.benchmark.probe import Parts, Sweep, few_shot, strength

N_CLASSES, WIDTH = 4, 6


def blobs(n: int, seed: int, noise: float = 0.9) -> Labelled:
    """Points around four centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(77).standard_normal((N_CLASSES, WIDTH))
    labels = np.arange(n) % N_CLASSES
    return Labelled((centres[labels] + noise * rng.standard_normal((n, WIDTH))).astype(np.float32), labels)


def parts(n_train: int = 40, n_validation: int = 40, noise: float = 0.9) -> Parts:
    test = blobs(200, 3, noise)

    def score(scores: np.ndarray) -> dict[str, float]:
        return {"top1": float((scores.argmax(axis=1) == test.labels).mean())}

    return Parts(blobs(n_train, 1, noise), blobs(n_validation, 2, noise), test.features, N_CLASSES, score)


@pytest.mark.parametrize("l2", [100.0, 1.0, 0.1])
def test_fit_is_that_of_scikit_learn(l2: float) -> None:
    train = blobs(60, 1)
    theirs = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=10_000).fit(train.features, train.labels)

    ours = fit(train, N_CLASSES, l2).scores(train.features)

    expected = theirs.decision_function(train.features)
    centred = ours - ours.mean(axis=1, keepdims=True)  # a constant for all classes changes no answer
    assert centred == pytest.approx(expected - expected.mean(axis=1, keepdims=True), rel=0.02, abs=0.02)


def test_search_finds_the_best_strength_of_the_whole_grid() -> None:
    some = parts(24, 400, noise=2.0)

    def n_right(l2: float) -> int:
        answers = fit(some.train, N_CLASSES, l2).scores(some.validation.features).argmax(axis=1)
        return int((answers == some.validation.labels).sum())

    found = Sweep(some.train, some.validation, N_CLASSES).best()

    assert 1e-6 <= found <= 1e6
    assert n_right(found) >= max(n_right(strength(place)) for place in range(-48, 49, 8))


def test_more_shots_and_each_seed_give_a_probe_of_their_own() -> None:
    found = list(few_shot(parts(n_train=40), [1, 2, 4, 8, 16], seeds=2))

    assert [(k, seed) for k, seed, _ in found] == [(k, seed) for k in (1, 2, 4, 8) for seed in (0, 1)]
    mean = {k: np.mean([one.metrics["top1"] for shots, _, one in found if shots == k]) for k in (1, 8)}
    assert mean[1] < mean[8]
    assert len({one.metrics["top1"] for k, _, one in found if k == 1}) == 2
