"""What trials of `refresh` count as covered, and the pictures that they learn from and judge by."""

from pathlib import Path

import pytest

from benchmarks.refresh_trials import Claim, Trial, report
from benchmarks.trial_pictures import PICTURES, write_pairs
from diptych_training.refresh.evaluation.difference import paired_difference

SAID = paired_difference([False] * 20, [True] * 15 + [False] * 5, list(range(20)))


def trial(own: Claim, among_all: Claim) -> Trial:
    return Trial(
        kind="drawn",
        n=20,
        seed=0,
        commit="abc",
        own=own,
        among_all=among_all,
        shipped={"drawings": SAID, "photographs": SAID},
        alpha=0.5,
        rate=2e-4,
        steps=100,
        minutes=9.0,
        processor_minutes=6.0,
    )


def test_a_truth_outside_the_interval_is_counted_as_not_covered() -> None:
    right, wrong = (Claim(found=SAID, n=100, old=0.0, new=new) for new in (0.75, 0.2))
    text = report([trial(own=right, among_all=wrong)], n_seeds=3)
    assert "1 of 16 runs are finished (commit abc)" in text
    assert "Among own labels, 1 of 1 intervals hold the new accuracy on the new pictures, 1 of 1 the" in text
    assert "Among own and shipped labels, 0 of 1 intervals hold the new accuracy" in text
    assert "0% → 20% (outside)" in text
    assert "0% → 75% |" in text


def test_a_run_that_judged_no_own_picture_is_not_counted() -> None:
    silent = Claim(found=None, n=100, old=0.1, new=0.2)
    assert "Among own labels, 0 of 0 intervals" in report([trial(silent, silent)], n_seeds=1)


@pytest.mark.parametrize("kind", ["drawn", "icons"])
def test_no_further_picture_is_one_of_the_pairs(kind: str, tmp_path: Path) -> None:
    learned, further = PICTURES[kind](20, 10, 1)
    assert {caption for _, caption in further} == {caption for _, caption in learned}
    assert len({image.tobytes() for image, _ in learned + further}) == 30
    write_pairs(learned, tmp_path / "pairs")
    assert sum(1 for _ in (tmp_path / "pairs").glob("*.txt")) == 20
