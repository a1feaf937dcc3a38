"""Metrics against scikit-learn's, and against numbers worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    roc_auc_score,
    top_k_accuracy_score,
)

from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet, Split
from diptych_training.evaluate.benchmark.data_sets.pictures import PixelPictures
from diptych_training.evaluate.benchmark.metrics import (
    map_11_point,
    mean_average_precision,
    measured,
    roc_auc,
)
from diptych_training.evaluate.benchmark.summary import curve, equal_shots, summary
from support.benchmark_results import some_result

N, C = 200, 7


def data_set(labels: np.ndarray, n_classes: int, **options: str) -> DataSet:
    pictures = PixelPictures(np.zeros((len(labels), 2, 2, 3), np.uint8))
    right = tuple((int(label),) for label in labels)
    texts = tuple(f"class {index}" for index in range(n_classes))
    return DataSet(
        "some", "folder", "classification", options.get("metric", "top1"), texts, Split(pictures, right)
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_accuracies_are_those_of_scikit_learn(rng):
    labels = np.concatenate([np.arange(C), rng.integers(0, 3, N - C)])  # unequal classes
    scores = rng.standard_normal((N, C)).astype(np.float32)
    some = data_set(labels, C)

    found = measured(some, some.test, scores)

    assert found["top1"] == pytest.approx(top_k_accuracy_score(labels, scores, k=1))
    assert found["top5"] == pytest.approx(top_k_accuracy_score(labels, scores, k=5))
    assert found["mean_per_class"] == pytest.approx(balanced_accuracy_score(labels, scores.argmax(axis=1)))
    assert found["mean_per_class"] != pytest.approx(found["top1"])


def test_area_under_the_curve_is_that_of_scikit_learn_with_ties(rng):
    positive = rng.random(N) < 0.3
    scores = rng.integers(0, 12, N).astype(np.float32) + 2 * positive

    assert roc_auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_mean_average_precision_is_that_of_scikit_learn(rng):
    relevant = rng.random((N, C)) < 0.2
    scores = (rng.standard_normal((N, C)) + relevant).astype(np.float32)
    expected = np.mean([average_precision_score(relevant[:, c], scores[:, c]) for c in range(C)])

    assert mean_average_precision(scores, relevant) == pytest.approx(expected)


def test_eleven_points_are_those_of_the_definition(rng):
    relevant = rng.random((N, C)) < 0.2
    scores = (rng.standard_normal((N, C)) + relevant).astype(np.float32)

    def of_class(c: int) -> float:
        ordered = relevant[np.argsort(-scores[:, c]), c]
        recall = ordered.cumsum() / ordered.sum()
        precision = ordered.cumsum() / np.arange(1, N + 1)
        points = [precision[recall >= level / 10 - 1e-9].max() for level in range(11)]
        return float(np.mean(points))

    assert map_11_point(scores, relevant) == pytest.approx(np.mean([of_class(c) for c in range(C)]))


def test_gains_and_losses_by_prompts_are_counted() -> None:
    results = [
        some_result("a"),
        some_result("b"),
        some_result("c", ensemble=0.3),
        some_result("d", ensemble=0.4),
    ]

    found = summary(results)

    assert found is not None
    assert (found.n, found.n_better, found.n_worse) == (4, 2, 1)
    assert found.probe_gain is None
    assert found.shots is None


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({1: [0.2], 2: [0.4], 4: [0.6]}, 2 * 2**0.5),  # halfway between 2 and 4, in logarithms
        ({1: [0.1, 0.3], 4: [0.5]}, 4.0),
        ({1: [0.6], 2: [0.7]}, 0.0),
        ({1: [0.1], 2: [0.2]}, math.inf),
        ({}, None),
    ],
)
def test_examples_that_equal_zero_shot_are_interpolated(
    scores: dict[int, list[float]], expected: float | None
) -> None:
    result = some_result(ensemble=0.5, few_shot=scores)
    found = equal_shots(result.score(), curve(result))

    assert found == (None if expected is None else pytest.approx(expected))
