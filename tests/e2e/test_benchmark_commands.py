"""Every benchmark's command runs to its end in its quick form, and says what it measured."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.servers import in_cache
from support.child_python import python_path
from support.default_model import DEFAULT_MODEL

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("command", "bar"),
    [
        (("serving", "--quick", "--models", f"{DEFAULT_MODEL} int8", "--beside", str(ROOT)), "items/s |"),
        (("serving", "--quick", "--models", f"{DEFAULT_MODEL} int8"), "in process"),
        (("store", "--quick"), "over encoding alone"),
        (("search", "--quick"), "recall@10 by names | >= 0.99"),
        (("soak", "--minutes", "0.5", "--clients", "4"), "good requests that failed | 0 | 0 of"),
        (("training", "--quick"), "images/s over open_clip's"),
    ],
    ids=lambda command: " ".join(command[:2]) if isinstance(command, tuple) else "",
)
def test_quick_run_says_what_it_measured(command: tuple[str, ...], bar: str) -> None:
    if command[0] == "training" and not in_cache("venvs", "open_clip", ".complete").exists():
        pytest.skip("open_clip has no environment here: `make bench-training` makes it")
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:]],
        env={**os.environ, "PYTHONPATH": python_path()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert bar in done.stdout, done.stderr
