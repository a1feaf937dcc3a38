"""Gates: bounds on what a switch may change."""

import json
from dataclasses import replace

import pytest

from diptych.core.rollout.comparison import (
    ChangedQuery,
    CollectionComparison,
    ComparedVectors,
    Comparison,
    Gates,
    LabelQuality,
)
from diptych.errors import Conflict

OLD, NEW = (ComparedVectors("mine", version, "fp32", 0.99999) for version in (1, 2))
LABELS = LabelQuality("kind", 5, 100, 5, 0.8, 0.75, 1.0, 0.9)
COMPARED = CollectionComparison(
    "photos", 100, 1.0, NEW, OLD, "recorded", 40, 0.6, [ChangedQuery(0.1, ["a"], ["b"], text="red")], LABELS
)


def test_gates_that_are_not_set_report_only() -> None:
    assert Gates().unmet_by(replace(COMPARED, overlap_at_10=0.0)) == []


def test_a_gate_names_figure_and_bound() -> None:
    (reason,) = Gates(min_overlap=0.7).unmet_by(COMPARED)
    assert "'photos'" in reason
    assert "0.600 on 40 recorded queries, min_overlap is 0.7" in reason
    (reason,) = Gates(max_accuracy_loss=4).unmet_by(COMPARED)
    assert "'kind' falls from 80.0% to 75.0%, by 5.0 points, max_accuracy_loss is 4" in reason
    assert len(Gates(0.7, 4).unmet_by(COMPARED)) == 2


def test_a_gate_passes_at_its_bound() -> None:
    assert Gates(min_overlap=0.6, max_accuracy_loss=5).unmet_by(COMPARED) == []
    better = replace(COMPARED, labels=replace(LABELS, new_accuracy=0.9))
    assert Gates(max_accuracy_loss=0).unmet_by(better) == []


def test_what_cannot_be_measured_passes() -> None:
    unknown = replace(COMPARED, overlap_at_10=None, n_queries=0, queries=None, labels=None)
    assert Gates(min_overlap=1, max_accuracy_loss=0).unmet_by(unknown) == []


def test_a_comparison_refuses_with_all_reasons() -> None:
    Comparison([COMPARED]).require_gates()
    with pytest.raises(Conflict, match="one; two"):
        Comparison([COMPARED], ["one", "two"]).require_gates()


def test_a_comparison_is_a_json_object() -> None:
    found = json.loads(json.dumps(Comparison([COMPARED], ["one"]).as_json()))
    (collection,) = found["collections"]
    assert found["unmet"] == ["one"]
    assert collection["old"] == {
        "model": "mine", "version": 1, "precision": "fp32", "golden_cosine_min": 0.99999,
    }  # fmt: skip
    assert collection["changed"] == [{"overlap": 0.1, "old": ["a"], "new": ["b"], "text": "red", "id": None}]
    assert collection["labels"]["new_recall_at_10"] == 0.9
