"""`make audit` with a fake auditor: what it asks, and that it fails when nothing was looked up."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
AUDITOR = """#!/bin/sh
case "$*" in *--strict*) ;; *) exit 0;; esac
for last; do :; done
echo "asked: $*"; cat "$last"
case "$last" in *"$UNKNOWN_IN"*) echo 'Dependency not found on PyPI and could not be audited'; exit 1;; esac
"""


def audit(folder: Path, unknown_in: str) -> "subprocess.CompletedProcess[str]":
    file = folder / "pip-audit"
    file.write_text(AUDITOR)
    file.chmod(0o755)
    return subprocess.run(
        [ROOT / "docker" / "audit.sh", folder], env={"PATH": "/usr/bin:/bin", "UNKNOWN_IN": unknown_in},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_lock_and_the_packages_of_the_training_image_are_audited(tmp_path: Path) -> None:
    done = audit(tmp_path, "nothing of the kind")
    assert done.returncode == 0, done.stderr
    for lock in sorted((ROOT / "docker").glob("*.lock")):
        assert f"--require-hashes -r docker/{lock.name}" in done.stdout
        assert lock.read_text(encoding="utf-8") in done.stdout
    training = done.stdout.rpartition("asked: ")[2]
    assert (ROOT / "constraints.txt").read_text(encoding="utf-8") in training
    dockerfile = (ROOT / "docker" / "training.Dockerfile").read_text(encoding="utf-8")
    for argument, package in (("TORCH", "torch"), ("TORCHVISION", "torchvision"), ("FAISS", "faiss-cpu")):
        (release,) = re.findall(rf"^ARG {argument}=(\S+)", dockerfile, re.MULTILINE)
        assert f"\n{package}=={release}\n" in training


@pytest.mark.parametrize("unknown_in", ["server.cpu.lock", "tmp"])
def test_failed_look_up_of_a_release_is_a_failure(tmp_path: Path, unknown_in: str) -> None:
    done = audit(tmp_path, unknown_in)
    assert done.returncode == 1
    assert "vulnerable, or not looked up" in done.stderr
    assert "was not reached or does not know the release" in done.stderr
    assert done.stdout.count("asked: ") >= 5  # the others are asked all the same
