"""The description of the processor, the processors of a process, and which of them saturate."""

import os
from pathlib import Path

import pytest

from diptych.adapters.onnxruntime import processor
from diptych.adapters.onnxruntime.processor import machine, may_saturate, n_cpus

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


@pytest.mark.parametrize(
    ("flags", "machine", "saturates"),
    [
        ("fpu sse4_2 avx2", "x86_64", True),
        ("fpu avx2 avx512f avx512_vnni", "x86_64", False),
        ("fpu avx2 avx_vnni", "AMD64", False),
        ("fp asimd", "aarch64", False),
    ],
)
def test_x86_without_vnni_may_saturate(tmp_path: Path, flags: str, machine: str, saturates: bool) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor : 0\nflags     : {flags}\n\nprocessor : 1\n")
    assert may_saturate(cpu_info, machine) is saturates


def test_x86_with_unknown_features_is_assumed_to_saturate(tmp_path: Path) -> None:
    assert may_saturate(tmp_path / "missing", "x86_64") is True


def machine_of(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, **values: object) -> str:
    text = text.format(**{"number": 0, "mhz": 2000.0, "flags": "", "part": "0xd0c"} | values)
    (folder / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "CPU_INFO", folder / "cpuinfo")
    return machine(2)


@pytest.mark.parametrize("text", [X86, ARM])
def test_processors_of_one_name_with_different_features_have_different_descriptions(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = machine_of(tmp_path, monkeypatch, text)
    assert machine_of(tmp_path, monkeypatch, text, flags=" avx512_vnni") != older
    assert machine_of(tmp_path, monkeypatch, text, mhz=2100.0) == older, "which changes at any moment"


def test_processors_without_a_name_are_distinguished_by_their_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {machine_of(tmp_path, monkeypatch, ARM, part=part) for part in ("0xd0c", "0xd40")}
    assert len(parts) == 2


@pytest.mark.parametrize(("text", "expected"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8)])
def test_cpus_are_those_that_the_process_and_its_container_may_use(
    text: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(processor, "CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert n_cpus() == expected
