"""A bound on the overlap refuses a switch."""

import json
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


def test_without_a_bound_the_overlap_is_only_reported() -> None:
    assert unmet_by(replace(COMPARED, overlap_at_10=0.0), None) == []


def test_the_reason_names_figure_and_bound() -> None:
    (reason,) = unmet_by(COMPARED, 0.7)
    assert "'photos'" in reason
    assert "0.600 on 40 queries, min_overlap is 0.7" in reason


def test_an_overlap_at_its_bound_passes() -> None:
    assert unmet_by(COMPARED, 0.6) == []


def test_what_cannot_be_measured_passes() -> None:
    assert unmet_by(replace(COMPARED, overlap_at_10=None, n_queries=0), 1) == []


def test_a_comparison_refuses_with_all_reasons() -> None:
    Comparison([COMPARED]).require_met()
    with pytest.raises(Conflict, match="one; two"):
        Comparison([COMPARED], ["one", "two"]).require_met()


def test_a_comparison_is_a_json_object() -> None:
    found = json.loads(json.dumps(Comparison([COMPARED], ["one"]).as_json()))
    (collection,) = found["collections"]
    assert found["unmet"] == ["one"]
    assert collection["old"] == {
        "model": "mine", "version": 1, "precision": "fp32", "golden_cosine_min": 0.99999,
    }  # fmt: skip
    assert collection["changed"] == [{"overlap": 0.1, "old": ["a"], "new": ["b"], "text": "red", "id": None}]
