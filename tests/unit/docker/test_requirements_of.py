"""Requirements of our projects without the projects, which the training image installs first."""

import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from support.projects import requirements_of

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
