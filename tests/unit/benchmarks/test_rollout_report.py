"""What the benchmark of rollouts counts, and which bars it holds a run to."""

from dataclasses import replace

import pytest

from benchmarks.inputs import variants
from benchmarks.load import Answer
from benchmarks.rollout import version_of
from benchmarks.rollout_report import (
    KINDS,
    Record,
    Sample,
    Span,
    phases_table,
    rollout_table,
    verdicts_of,
)


def record(slower: float = 1.0) -> Record:
    """Ten seconds of each phase; requests of 10 ms, `slower` times that during the rollout."""
    found = Record(1_000, phases={"before": (0, 10), "during": (10, 20), "after": (20, 30)})
    for tenth in range(300):
        at, is_during = tenth / 10, 100 <= tenth < 200
        ms = 10 * slower if is_during else 10
        found.spans += [Span(kind, at - ms / 1000, at, 5 if at < 20 else 6) for kind in KINDS]
        state = "embedding" if is_during else None
        found.samples.append(Sample(at, 300 + at, 10 * (tenth - 100) if is_during else None, state))
    return found


def test_each_phase_has_the_requests_that_ended_in_it() -> None:
    assert "| during (10 s) | 20 | 15.0 | 15.0 | 15.0 | 15.0 | 320 |" in phases_table(record(1.5))


def test_images_a_second_are_told_apart_by_load() -> None:
    found = record()
    found.quiet.append((15, 20))
    for sample in [one for one in found.samples if one.at >= 15 and one.n_embedded is not None]:
        found.samples[found.samples.index(sample)] = replace(sample, n_embedded=10 * sample.n_embedded - 4500)
    table = rollout_table(found)
    assert "| images embedded again a second, under load | 100 |" in table
    assert "| the same while no request comes | 1,000 |" in table
    assert "| of these under load, s | 5 |" in table


@pytest.mark.parametrize(("slower", "met"), [(1.9, True), (2.1, False)])
def test_requests_may_be_twice_as_slow_and_no_more(slower: float, met: bool) -> None:
    assert [one.met for one in verdicts_of(record(slower))] == [met, met, True, True]


def test_a_failure_and_a_step_back_miss_their_bars() -> None:
    found = record()
    found.failures.append("503 not ready")
    found.n_back = 1
    assert [one.met for one in verdicts_of(found)] == [True, True, False, False]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"x-diptych-version": "6"}, b"\x00"),
        Answer(200, {}, b'{"model": {"name": "pictograms", "version": 6}, "hits": []}'),
    ],
    ids=["raw", "JSON"],
)
def test_version_is_the_one_that_the_answer_names(answer: Answer) -> None:
    assert version_of(answer) == 6


def test_pictures_are_distinct_and_the_same_every_time() -> None:
    found = list(variants(640, 660))
    assert len(set(found)) == 20
    assert list(variants(650, 660)) == found[10:]
