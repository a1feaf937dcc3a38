"""Run the tools that `make check-containers` installs. Elsewhere, a test whose tool is absent is skipped."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
ENVIRONMENT = Path(os.environ.get("DIPTYCH_TOOLS") or ROOT / ".venv-tools") / "bin"


def tool(name: str) -> str:
    """Where a program is: in the environment of the tools, or else on the path."""
    found = shutil.which(name, path=f"{ENVIRONMENT}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        why = f"{name} is not installed: `make check-containers` does that"
        pytest.fail(why) if "DIPTYCH_TOOLS" in os.environ else pytest.skip(why)
    return found


def run(name: str, *arguments: str | Path, code: int = 0, **variables: str) -> str:
    """What it prints, both streams together. AssertionError when it ends with another status than `code`."""
    done = subprocess.run(
        [tool(name), *arguments], cwd=ROOT, env={**os.environ, **variables},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"{name} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
