"""Means, gains of prompts, and the number of examples that zero-shot is worth."""

import math

import pytest

from diptych_training.evaluate.benchmark.summary import curve, equal_shots, mean_score, shots_text, summary
from support.benchmark_results import some_result


def test_each_data_set_counts_once_by_its_own_metric() -> None:
    by_class = some_result("pets", metric="mean_per_class", ensemble=0.9, n_images=10_000)

    assert mean_score([some_result(ensemble=0.1), by_class]) == pytest.approx(0.5)


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


def test_a_model_that_classified_nothing_has_no_summary() -> None:
    assert summary([some_result(zero_shot={}, task="retrieval")]) is None


def test_probes_are_compared_with_zero_shot_where_there_are_any() -> None:
    found = summary([some_result(ensemble=0.5, probe=0.8), some_result("b")])

    assert found is not None
    assert found.n_probes == 1
    assert found.probe_gain == pytest.approx(0.3)


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


def test_examples_are_told_in_words() -> None:
    assert [shots_text(one, 16) for one in (None, 0.0, 2.83, math.inf)] == [
        "–",
        "less than one",
        "2.8",
        "more than 16",
    ]
