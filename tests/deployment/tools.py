"""Run the tools that `make check-containers` installs; a tool that is not there is an error that says so."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
ENVIRONMENT = Path(os.environ.get("DIPTYCH_TOOLS") or ROOT / ".venv-tools") / "bin"


def tool(name: str) -> str:
    """Where a program is: in the environment of the tools, or else on the path."""
    found = shutil.which(name, path=f"{ENVIRONMENT}{os.pathsep}{os.environ['PATH']}")
    assert found is not None, f"{name} is not installed: `make check-containers` does that"
    return found


def run(name: str, *arguments: str | Path, code: int = 0, **variables: str) -> str:
    """What it prints, both streams together. AssertionError when it ends with another status than `code`."""
    done = subprocess.run(
        [tool(name), *arguments], cwd=ROOT, env={**os.environ, **variables},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"{name} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
