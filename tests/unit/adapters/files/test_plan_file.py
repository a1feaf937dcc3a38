"""The file that keeps measurements between starts."""

import json
import math
from pathlib import Path

import pytest

from diptych.adapters.files.plan_file import PlanFile
from diptych.core.tuning.execution_layout import Plan
from diptych.core.tuning.precision import EncoderTiming

PLAN = Plan(2, 8, 16, 2)
TIMINGS = {"fp32": EncoderTiming(46.5, 9.25), "int8": EncoderTiming(15.5, 3.125)}


def test_plans_and_timings_of_an_earlier_start_are_read_back(tmp_path: Path) -> None:
    kept = PlanFile(tmp_path / "data" / "plans.json")
    kept.put("a", TIMINGS)
    kept.put("b", PLAN)
    again = PlanFile(tmp_path / "data" / "plans.json")
    assert (again.get("a", dict[str, EncoderTiming]), again.get("b", Plan)) == (TIMINGS, PLAN)
    assert (again.get("c", dict[str, EncoderTiming]), again.get("a", Plan)) == (None, None)


def test_what_is_not_known_is_measured_once_the_machine_is_quiet(tmp_path: Path) -> None:
    waited: list[str] = []
    kept = PlanFile(tmp_path / "plans.json", lambda: waited.append("for the check"))
    kept.put("a", PLAN)
    assert (kept.get("a", Plan), waited) == (PLAN, [])
    assert (kept.get("b", Plan), waited) == (None, ["for the check"])


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        3,
        {"fp32": 3},
        {"fp32": {"image_ms": 3}},
        {"fp32": {"image_ms": 0, "text_ms": 3}},
        {"fp32": {"image_ms": math.nan, "text_ms": 3}},
    ],
)
def test_invalid_timings_are_ignored(value: object, tmp_path: Path) -> None:
    (tmp_path / "plans.json").write_text(json.dumps({"a": value}))
    assert PlanFile(tmp_path / "plans.json").get("a", dict[str, EncoderTiming]) is None
