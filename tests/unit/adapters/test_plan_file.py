import json
import math
from pathlib import Path

import pytest

from diptych.adapters.plan_file import PlanFile
from diptych.core.pace import Pace
from diptych.core.plan import Plan

PLAN = Plan(2, 8, 16, 2)
PACES = {"fp32": Pace(46.5, 9.25), "int8": Pace(15.5, 3.125)}


def test_plans_and_paces_of_an_earlier_start_are_what_they_were(tmp_path: Path) -> None:
    kept = PlanFile(tmp_path / "data" / "plans.json")
    kept.put_paces("a", PACES)
    kept.put("b", PLAN)
    again = PlanFile(tmp_path / "data" / "plans.json")
    assert (again.paces("a"), again.get("b")) == (PACES, PLAN)
    assert (again.paces("c"), again.get("c")) == (None, None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        3,
        {"fp32": 3},
        {"fp32": {"image_ms": 3}},
        {"fp32": {"image_ms": "3", "text_ms": 3}},
        {"fp32": {"image_ms": 0, "text_ms": 3}},
        {"fp32": {"image_ms": math.nan, "text_ms": 3}},
        {"fp32": {"image_ms": 3, "text_ms": 3, "x": 3}},
    ],
)
def test_paces_that_make_no_sense_are_as_good_as_none(value: object, tmp_path: Path) -> None:
    (tmp_path / "plans.json").write_text(json.dumps({"a": value}))
    assert PlanFile(tmp_path / "plans.json").paces("a") is None
