"""Shares of halves and the sign test of gained and lost queries."""

import numpy as np
import pytest

from benchmarks.photographs_and_drawings import Paired
from benchmarks.routing import p_value, shares


@pytest.mark.parametrize(
    ("gained", "lost", "expected"), [(0, 0, 1), (3, 3, 1), (5, 0, 2 / 32), (9, 1, 22 / 1024)]
)
def test_the_sign_test_counts_queries_that_changed(gained: int, lost: int, expected: float) -> None:
    assert p_value(Paired(100, 50, gained, lost)) == pytest.approx(expected)


def test_the_share_of_photographs_is_that_of_the_first_half() -> None:
    texts = np.array([[0.9, 0.0, 0.1], [0.3, 0.4, 0.5]], np.float32)
    assert shares(texts, 2).tolist() == pytest.approx([0.9, 0.5])
