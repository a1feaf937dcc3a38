import json
import math
import os
from pathlib import Path

import pytest

from diptych.adapters.files import plan_file
from diptych.adapters.files.plan_file import PlanFile, machine, n_cpus
from diptych.core.tuning.execution_layout import Plan
from diptych.core.tuning.precision import EncoderTiming

PLAN = Plan(2, 8, 16, 2)
X86 = """processor	: {number}
vendor_id	: GenuineIntel
model name	: Intel(R) Xeon(R) Processor
cpu MHz		: {mhz}
flags		: fpu sse2{flags}

processor	: 1
"""
ARM = """processor	: {number}
BogoMIPS	: {mhz}
Features	: fp asimd{flags}
CPU implementer	: 0x41
CPU part	: {part}
"""
PACES = {"fp32": EncoderTiming(46.5, 9.25), "int8": EncoderTiming(15.5, 3.125)}


def test_plans_and_paces_of_an_earlier_start_are_what_they_were(tmp_path: Path) -> None:
    kept = PlanFile(tmp_path / "data" / "plans.json")
    kept.put("a", PACES)
    kept.put("b", PLAN)
    again = PlanFile(tmp_path / "data" / "plans.json")
    assert (again.get("a", dict[str, EncoderTiming]), again.get("b", Plan)) == (PACES, PLAN)
    assert (again.get("c", dict[str, EncoderTiming]), again.get("a", Plan)) == (None, None)


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
def test_paces_that_make_no_sense_are_as_good_as_none(value: object, tmp_path: Path) -> None:
    (tmp_path / "plans.json").write_text(json.dumps({"a": value}))
    assert PlanFile(tmp_path / "plans.json").get("a", dict[str, EncoderTiming]) is None


def test_file_of_endless_depth_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "plans.json").write_text("[" * 200_000)
    kept = PlanFile(tmp_path / "plans.json")
    assert kept.get("a", Plan) is None
    kept.put("a", PLAN)
    assert kept.get("a", Plan) == PLAN


def machine_of(folder: Path, monkeypatch: pytest.MonkeyPatch, told: str, **values: object) -> str:
    told = told.format(**{"number": 0, "mhz": 2000.0, "flags": "", "part": "0xd0c"} | values)
    (folder / "cpuinfo").write_text(told)
    monkeypatch.setattr(plan_file, "CPU_INFO", folder / "cpuinfo")
    return machine(2)


@pytest.mark.parametrize("told", [X86, ARM])
def test_processors_of_one_name_that_can_do_different_things_have_plans_of_their_own(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = machine_of(tmp_path, monkeypatch, told)
    assert machine_of(tmp_path, monkeypatch, told, flags=" avx512_vnni") != older
    assert machine_of(tmp_path, monkeypatch, told, mhz=2100.0) == older, "which changes at any moment"


def test_processors_without_a_name_are_told_apart_by_their_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {machine_of(tmp_path, monkeypatch, ARM, part=part) for part in ("0xd0c", "0xd40")}
    assert len(parts) == 2


def test_one_processor_is_told_where_the_system_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_file, "CPU_INFO", tmp_path / "absent")
    assert machine(2) == machine(2) != machine(4)


@pytest.mark.parametrize(("told", "expected"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8)])
def test_processors_are_those_that_the_process_and_its_container_may_use(
    told: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(told)
    monkeypatch.setattr(plan_file, "CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert n_cpus() == expected
