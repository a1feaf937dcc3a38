"""The scripts that print requirements: constraints that fit every machine, and those without our projects."""

import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from support.projects import requirements_of

SCRIPT = Path(__file__).parents[2] / "support" / "constraints.sh"
FROZEN = """\
torch==2.13.0+cpu
pip==26.0
setuptools==84.2.1
nvidia-cublas==13.1.1.3
cloudpickle==3.1.3
wheel==0.50
-e /somewhere/diptych
"""


def test_requirements_are_pinned_unless_they_differ_by_machine() -> None:
    done = subprocess.run([SCRIPT], input=FROZEN, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert lines == ["cloudpickle==3.1.3", "setuptools==84.2.1"]


ROOT = Path(__file__).parents[3]
FOLDERS = ("clients/python", "server[cpu]", "training[import,parquet,remote]")


def printed(*folders: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "docker" / "requirements_of.py", *folders]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_requirements_are_printed_without_our_projects() -> None:
    lines = printed(*FOLDERS).stdout.splitlines()
    assert {str(Requirement(line)) for line in lines} == {str(one) for one in requirements_of(*FOLDERS)}
    assert not any(line.startswith("diptych") for line in lines)
    assert any(line.startswith("uvicorn[standard]") for line in lines)


def test_unknown_extra_is_named() -> None:
    found = printed("server[nothing]")
    assert found.returncode == 1
    assert "KeyError: 'nothing'" in found.stderr
