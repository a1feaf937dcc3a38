"""Which processors may cut off sums of 8-bit products."""

from pathlib import Path

import pytest

from diptych.adapters.onnxruntime.int8_instructions import may_saturate


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


def test_x86_that_does_not_tell_is_taken_to_saturate(tmp_path: Path) -> None:
    assert may_saturate(tmp_path / "missing", "x86_64") is True
