"""The script of `docker compose run train`, with a fake trainer that only records its arguments."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from diptych.bundle.schema import NAME_PATTERN
from support.default_model import DEFAULT_MODEL

NOBODY = 65534
SCRIPT = Path(__file__).parents[3] / "docker" / "train.sh"
TRAINER = """#!/bin/sh
echo "$@" >> "$TOLD"
[ "$1" != "$FAILS_AT" ] || exit 3
[ "$1" != "$SIGNALLED_AT" ] || { trap '' TERM; kill -TERM "$PPID"; sleep 0.2; }
[ "$1" != train ] || mkdir -p "$DIPTYCH_CACHE/runs/mine"
[ "$1" != train ] || touch "$DIPTYCH_CACHE/runs/mine/config.toml"
[ "$1" != "$HANGS_AT" ] && exit 0
trap 'sleep 0.2; echo checkpoint >> "$TOLD"; exit 130' TERM
echo hangs >> "$TOLD"
while :; do sleep 0.05; done
"""

# Keeps what it has on the first signal of either kind, and ends on the second at once: as training does.
KEEPER = f"""#!{sys.executable}
import os, signal, sys, time
if sys.argv[1] != "train":
    sys.exit(0)
got = []
def note(number, frame):
    got.append(number)
    if len(got) > 1:
        os._exit(1)
signal.signal(signal.SIGINT, note)
signal.signal(signal.SIGTERM, note)
print("training", flush=True)
while not got:
    time.sleep(0.01)
time.sleep(0.3)
print("checkpoint", flush=True)
sys.exit(130)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    trainer = tmp_path / "bin" / "diptych-train"
    trainer.parent.mkdir()
    trainer.write_text(TRAINER)
    trainer.chmod(0o755)
    return {
        "PATH": f"{trainer.parent}:{os.environ['PATH']}", "TOLD": str(tmp_path / "told"),
        "DIPTYCH_CACHE": str(tmp_path / "cache"), "FAILS_AT": "", "HANGS_AT": "", "SIGNALLED_AT": "",
    }  # fmt: skip


def start(environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([SCRIPT, "pictograms", "mine", "birds"], env=environment)


def told(environment: dict[str, str]) -> list[str]:
    file = Path(environment["TOLD"])
    return file.read_text().splitlines() if file.exists() else []


def test_all_steps_run_and_a_second_call_resumes_the_run(environment: dict[str, str]) -> None:
    evaluation = f"{environment['DIPTYCH_CACHE']}/runs/mine/evaluation-eval/evaluation.json"
    after = ["evaluate --run mine", f"export --run mine --name birds --evaluation {evaluation}"]
    assert start(environment).wait(timeout=20) == 0
    assert told(environment) == ["data pictograms", "train pictograms --name mine", *after]
    assert start(environment).wait(timeout=20) == 0
    assert told(environment)[4:] == ["data pictograms", "train pictograms --name mine --resume", *after]


def test_refresh_teaches_the_mounted_pictures_with_further_flags(environment: dict[str, str]) -> None:
    given = {**environment, "DIPTYCH_PICTURES": "./photos", "DIPTYCH_NAME": "birds"}
    assert subprocess.run([SCRIPT, "refresh", "--max-loss", "5"], env=given, check=False).returncode == 0
    assert told(environment) == ["refresh /srv/pictures --name birds --max-loss 5"]
    given["FAILS_AT"] = "refresh"
    assert subprocess.run([SCRIPT, "refresh"], env=given, check=False).returncode == 3


@pytest.mark.parametrize("lacking", ["DIPTYCH_PICTURES", "DIPTYCH_NAME"])
def test_refresh_without_pictures_or_name_says_which_variable_to_set(
    environment: dict[str, str], lacking: str
) -> None:
    given = {**environment, "DIPTYCH_PICTURES": "./photos", "DIPTYCH_NAME": "birds", lacking: ""}
    done = subprocess.run([SCRIPT, "refresh"], env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"set {lacking}" in done.stderr
    assert not Path(environment["TOLD"]).exists()


def test_failed_step_is_the_last_and_its_status_is_returned(environment: dict[str, str]) -> None:
    assert start({**environment, "FAILS_AT": "evaluate"}).wait(timeout=20) == 3
    assert told(environment)[-1] == "evaluate --run mine"


def test_signal_reaches_the_step_and_its_checkpoint_is_waited_for(environment: dict[str, str]) -> None:
    process = start({**environment, "HANGS_AT": "train"})
    deadline = time.monotonic() + 20
    while told(environment)[-1:] != ["hangs"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 130
    assert told(environment)[-1] == "checkpoint"


def test_ctrl_c_of_a_terminal_reaches_the_step_once(environment: dict[str, str]) -> None:
    trainer = Path(environment["PATH"].partition(":")[0]) / "diptych-train"
    trainer.write_text(KEEPER)
    # `docker compose run` has a terminal, whose Ctrl-C goes to all that is in its foreground.
    process, terminal = pty.fork()
    if process == 0:
        os.execve(SCRIPT, [SCRIPT, "pictograms", "mine", "birds"], environment)
    said = read_until(terminal, b"training")
    os.write(terminal, b"\x03")
    said += read_until(terminal, b"checkpoint")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
    assert b"checkpoint" in said


def test_no_step_follows_a_signal_even_if_the_step_succeeded(environment: dict[str, str]) -> None:
    assert start({**environment, "SIGNALLED_AT": "data"}).wait(timeout=20) == 143
    assert told(environment) == ["data pictograms"]


@pytest.mark.parametrize(
    "model",
    [
        "b.i_r-ds",
        "",
        "Birds",
        "a/b",
        "a" * 65,
    ],
)
def test_invalid_model_name_is_refused_before_the_first_step(environment: dict[str, str], model: str) -> None:
    done = subprocess.run(
        [SCRIPT, "pictograms", "mine", model], env=environment, capture_output=True, text=True, check=False
    )
    if re.fullmatch(NAME_PATTERN, model):
        assert done.returncode == 0, done.stderr
        assert told(environment)[-1].split()[:5] == ["export", "--run", "mine", "--name", model]
    else:
        assert done.returncode == 1
        reason = f"model name '{model}' (DIPTYCH_NAME) must be" if model else "set DIPTYCH_NAME, as in"
        assert reason in done.stderr
        assert not Path(environment["TOLD"]).exists()  # no step was tried


def test_name_of_the_default_model_is_refused_before_the_first_step(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [SCRIPT, "tiny", "mine", DEFAULT_MODEL], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"DIPTYCH_NAME is {DEFAULT_MODEL}" in done.stderr
    assert "publish under a name of your own" in done.stderr
    assert not Path(environment["TOLD"]).exists()


@pytest.mark.parametrize("place", ["cache", "model_repo/birds"])
def test_unwritable_folder_is_refused_before_the_first_step(place: str) -> None:
    with tempfile.TemporaryDirectory() as parent:  # which any user may enter, unlike `tmp_path`
        home = Path(parent)
        script = shutil.copy(SCRIPT, home)
        (home / "model_repo" / "birds").mkdir(parents=True)
        (home / "cache").mkdir()
        for folder in (home, *home.rglob("*/")):
            folder.chmod(0o777)
        (home / place).chmod(0o555)
        done = subprocess.run(
            [script, "pictograms", "mine", "birds"],
            env={"PATH": os.environ["PATH"], "DIPTYCH_CACHE": str(home / "cache"),
                 "DIPTYCH_MODEL_REPO": str(home / "model_repo")},
            user=NOBODY if os.geteuid() == 0 else None, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"train: {home / place} cannot be written by user" in done.stderr
    assert "diptych-train" not in done.stderr  # no step was tried


def read_until(terminal: int, word: bytes) -> bytes:
    """Return the output up to the word, or up to its end."""
    said = b""
    while word not in said:
        try:
            said += os.read(terminal, 1000)
        except OSError:  # how Linux tells the end of a terminal
            break
    return said
