"""What `diptych-train` sets before it loads torch."""

import os
import subprocess
import sys

import pytest

from diptych_training.__main__ import main as entry_point
from diptych_training.cli import main


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_do_not_spin_unless_the_user_says_so(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")  # restored afterwards
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(sys, "argv", ["diptych-train", "--version"])

    with pytest.raises(SystemExit):
        entry_point()

    assert os.environ["OMP_WAIT_POLICY"] == used


HOOK = """
import importlib.abc, runpy, signal, sys

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["diptych-train", "--version"]
runpy.run_module("diptych_training", run_name="__main__")
"""


def test_ctrl_c_during_the_imports_prints_one_line():
    ended = subprocess.run([sys.executable, "-c", HOOK], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "diptych-train: interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "prog", "reason"),
    [
        (["models", "--no-such-flag"], "diptych-train models", "unrecognized arguments: --no-such-flag"),
        (
            ["export", "--nam", "mine"],
            "diptych-train export",
            "unrecognized arguments: --nam, did you mean --name?",
        ),
        (["data", "pack"], "diptych-train data pack", "the following arguments are required"),
        (["trian"], "diptych-train", "argument COMMAND: invalid choice: 'trian'"),
    ],
)
def test_first_line_is_the_reason(
    arguments: list[str], prog: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{prog}: error: {reason}")
    assert second == f"see `{prog} --help`"
