"""The menu shows what there is: what it announces has a rule and a line of help."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
RULES = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
PHONY = {
    name for names in re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE) for name in names.split()
}
HELPERS = {
    "chromium",
    "strace",
    "nginx",
    "nodejs",
    "npm",
    "container-tools",
    "rootless-tools",
}  # what targets need, and nobody asks for
# A make that runs these tests hands its flags and its level to ours, which would then announce its folders.
OUTSIDE = {
    name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"
}


def make(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    run = subprocess.run(
        ["make", *arguments], cwd=ROOT, env=OUTSIDE, capture_output=True, text=True, check=False
    )
    assert run.returncode == code, run.stderr
    return run


def test_every_phony_target_has_a_rule_and_every_such_rule_is_phony() -> None:
    assert PHONY == RULES


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_help_lists_every_target() -> None:
    shown = make("help").stdout
    assert {line.split()[0] for line in shown.splitlines()} == PHONY - HELPERS
    assert all(len(line.split()) > 1 for line in shown.splitlines())


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_export_asks_for_the_name_of_the_model() -> None:
    command = ["--dry-run", "export", "RUN=mine"]
    assert "NAME=mine" in make(*command, code=2).stderr
    told = make(*command, "NAME=birds")
    assert "diptych-train export --run 'mine' --name 'birds'" in told.stdout
