"""Intervals of accuracies and of their differences: by hand, and how often they cover the truth."""

import numpy as np
import pytest

from diptych_training.refresh.evaluation.difference import (
    captions_needed,
    clustered_interval,
    paired_difference,
    student_t,
)


def test_the_interval_by_hand():
    # Four captions of two pictures with sums 2, 1, 0, 1, and one that is half gained and half lost: ratio
    # 4/10, squares 1.2^2 + 2 * 0.2^2 + 0.8^2 + 4 (0.6^2 + 1.4^2) / 2 = 6.8, error sqrt(5/4 * 6.8) / 10
    # = 0.2915, times t = 2.776 with 4 degrees of freedom.
    low, high = clustered_interval([1, 1, 1, 0, 0, 0, 1, 0], [0, 0, 1, 1, 2, 2, 3, 3], -1, 1)

    assert low == pytest.approx(0.4 - 2.7764 * 0.29155, abs=1e-4)
    assert high == 1


@pytest.mark.parametrize(("dof", "t"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (30, 2.0423), (1000, 1.9623)])
def test_student_t_is_that_of_tables(dof, t):
    assert student_t(dof) == pytest.approx(t, abs=1e-4)


def test_a_difference_has_both_accuracies_and_counts_captions():
    found = paired_difference([True, False, False, True], [True, True, True, False], [0, 0, 1, 1])

    assert (found.n, found.n_captions, found.old, found.new, found.change) == (4, 2, 0.5, 0.75, 0.25)
    assert (found.n_gained, found.n_lost, found.verdict) == (2, 1, "no clear change")
    assert found.new_low < found.new < found.new_high


def test_pictures_of_one_caption_are_little_evidence():
    hits = [True] * 50, [False] * 50
    alike, different = ([index % n for index in range(50)] for n in (2, 50))

    assert paired_difference(*hits, alike).verdict == "no clear change"
    assert paired_difference(*hits, different).verdict == "worse"


@pytest.mark.parametrize(
    ("n_captions", "percent"), [(2, None), (4, None), (5, 66), (8, 32), (10, 24), (20, 11)]
)
def test_a_gain_by_few_captions_has_to_be_large_to_be_sure(n_captions, percent):
    def is_better(right: int) -> bool:
        new = [picture < right for _ in range(n_captions) for picture in range(100)]
        captions = [caption for caption in range(n_captions) for _ in range(100)]
        return paired_difference([False] * len(new), new, captions).verdict == "better"

    assert next(filter(is_better, range(1, 101)), None) == percent


def test_the_loss_that_captions_cannot_exclude_falls_with_their_number():
    same = [True] * 198
    nine, all_different = ([index % n for index in range(198)] for n in (9, 198))

    assert paired_difference(same, same, nine).unresolved == pytest.approx(0.238, abs=1e-3)
    assert paired_difference(same, same, all_different).unresolved < 0.01
    assert (captions_needed(0.03), captions_needed(0.01)) == (67, 197)


@pytest.mark.parametrize("n_captions", [5, 9, 60])
@pytest.mark.parametrize("are_equal", [True, False], ids=["equal", "unequal"])
@pytest.mark.parametrize(
    ("old", "new", "correlation"), [(0.5, 0.5, 0.3), (0.2, 0.9, 0.5), (0.3, 0.5, 0.7), (0.6, 0.6, 0.05)]
)
def test_95_percent_intervals_cover_the_truth_in_90_percent_of_samples(
    n_captions, are_equal, old, new, correlation
):
    """The accuracy of each caption is drawn around that of all captions, then its pictures."""
    rng = np.random.default_rng(n_captions)
    n_samples, size = 200, 8
    spread = (1 - correlation) / correlation
    n_right = 0
    n_difference_right = 0
    for _ in range(n_samples):
        shares = rng.dirichlet(np.full(n_captions, 2.0))
        sizes = np.full(n_captions, size) if are_equal else 1 + rng.multinomial(size * n_captions, shares)
        captions = np.repeat(np.arange(n_captions), sizes)
        before, after = (
            rng.random(len(captions)) < rng.beta(p * spread, (1 - p) * spread, n_captions)[captions]
            for p in (old, new)
        )
        found = paired_difference(before.tolist(), after.tolist(), captions.tolist())
        n_right += found.new_low <= new <= found.new_high
        n_difference_right += found.low <= new - old <= found.high

    assert n_right >= 0.9 * n_samples
    assert n_difference_right >= 0.9 * n_samples
