"""A bound on the overlap refuses a switch."""

from dataclasses import replace

import pytest

from diptych.core.rollout.comparison import (
    ChangedQuery,
    CollectionComparison,
    ComparedVectors,
    Comparison,
    unmet_by,
)
from diptych.errors import Conflict

OLD, NEW = (ComparedVectors("mine", version, "fp32", 0.99999) for version in (1, 2))
COMPARED = CollectionComparison(
    "photos", 100, 1.0, NEW, OLD, 40, 0.6, [ChangedQuery(0.1, ["a"], ["b"], text="red")]
)


def test_the_reason_names_figure_and_bound() -> None:
    (reason,) = unmet_by(COMPARED, 0.7)
    assert "'photos'" in reason
    assert "0.600 on 40 queries, min_overlap is 0.7" in reason


@pytest.mark.parametrize(
    ("overlap", "bound"), [(0.0, None), (0.6, 0.6), (None, 1)], ids=["no bound", "at the bound", "unmeasured"]
)
def test_other_overlaps_pass(overlap: float | None, bound: float | None) -> None:
    assert unmet_by(replace(COMPARED, overlap_at_10=overlap), bound) == []


def test_a_comparison_refuses_with_all_reasons() -> None:
    Comparison([COMPARED]).require_met()
    with pytest.raises(Conflict, match="one; two"):
        Comparison([COMPARED], ["one", "two"]).require_met()
