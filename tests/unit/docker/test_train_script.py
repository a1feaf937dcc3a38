"""What `docker compose run train` runs, with a trainer that only writes down what it is asked."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "docker" / "train.sh"
TRAINER = """#!/bin/sh
echo "$@" >> "$TOLD"
[ "$1" != "$FAILS_AT" ] || exit 3
[ "$1" != train ] || mkdir -p "$DIPTYCH_CACHE/runs/mine"
[ "$1" != train ] || touch "$DIPTYCH_CACHE/runs/mine/config.toml"
[ "$1" != "$HANGS_AT" ] && exit 0
trap 'sleep 0.2; echo checkpoint >> "$TOLD"; exit 130' TERM
while :; do sleep 0.05; done
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    trainer = tmp_path / "bin" / "diptych-train"
    trainer.parent.mkdir()
    trainer.write_text(TRAINER)
    trainer.chmod(0o755)
    return {
        "PATH": f"{trainer.parent}:{os.environ['PATH']}", "TOLD": str(tmp_path / "told"),
        "DIPTYCH_CACHE": str(tmp_path / "cache"), "FAILS_AT": "", "HANGS_AT": "",
    }  # fmt: skip


def start(environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([SCRIPT, "pictograms", "mine", "birds"], env=environment)


def told(environment: dict[str, str]) -> list[str]:
    file = Path(environment["TOLD"])
    return file.read_text().splitlines() if file.exists() else []


def test_all_steps_follow_and_a_second_time_goes_on_with_the_run(environment: dict[str, str]) -> None:
    evaluation = f"{environment['DIPTYCH_CACHE']}/runs/mine/evaluation-eval/evaluation.json"
    after = ["evaluate --run mine", f"export --run mine --name birds --evaluation {evaluation}"]
    assert start(environment).wait(timeout=20) == 0
    assert told(environment) == ["data pictograms", "train pictograms --name mine", *after]
    assert start(environment).wait(timeout=20) == 0
    assert told(environment)[4:] == ["data pictograms", "train pictograms --name mine --resume", *after]


def test_step_that_fails_is_the_last_and_its_status_is_told(environment: dict[str, str]) -> None:
    assert start({**environment, "FAILS_AT": "evaluate"}).wait(timeout=20) == 3
    assert told(environment)[-1] == "evaluate --run mine"


def test_signal_reaches_the_step_and_its_checkpoint_is_waited_for(environment: dict[str, str]) -> None:
    process = start({**environment, "HANGS_AT": "train"})
    deadline = time.monotonic() + 20
    while not told(environment) or not told(environment)[-1].startswith("train"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)  # until the stand-in has set its trap
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 130
    assert told(environment)[-1] == "checkpoint"
