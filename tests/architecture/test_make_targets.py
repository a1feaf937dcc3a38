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
    "pgvector",
    "postgresql",
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
@pytest.mark.parametrize("target", ["import", "serve-hub"])
def test_import_asks_for_what_it_needs_before_it_installs_anything(target: str, tmp_path: Path) -> None:
    command = [target, f"VENV={tmp_path / 'none'}"]
    assert "SOURCE=" in make(*command, code=2).stderr
    assert "NAME=" in make(*command, "SOURCE=a/b", code=2).stderr
    assert list(tmp_path.iterdir()) == []
    told = make("--dry-run", *command, "SOURCE=a/b", "NAME=birds", "FLAGS=--offline")
    assert "diptych-train import 'a/b' --name 'birds'" in told.stdout
    assert told.stdout.rstrip().endswith("--offline")
