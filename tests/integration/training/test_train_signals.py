"""Signals to a run with data workers, and dead processes: a checkpoint and a reason remain, but no
process.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from diptych_training.checkpoint import load_run
from diptych_training.cli import main
from diptych_training.train.metrics_log import read_metrics
from support.child_python import python_path
from support.pairs_run import write_pairs_run

pytestmark = pytest.mark.long

STEPS = 150
OVERRIDES = [
    "name=small", f"run.steps={STEPS}", "run.batch_size=8", "run.precision=fp32", "run.log_every=1",
    "run.checkpoint_every=3", f"run.validate_every={STEPS}", "run.best_by=['pairs_top1']",
    "data.pairs.streams=4", "data.pairs.shuffle=12", "data.pairs.workers=2",
]  # fmt: skip
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
MARK = "DIPTYCH_TEST_MARK"  # in the environment of every process of a run
DEADLINE_S = 120


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs_run(tmp_path_factory.mktemp("home"), *OVERRIDES)


@pytest.fixture
def arguments(home: Path, tmp_path: Path) -> list[str]:
    folders = ["--data", str(home / "data"), "--runs-dir", str(tmp_path / "runs")]
    return ["train", str(home / "small.toml"), *folders]


@contextmanager
def started(*module: str) -> Iterator["subprocess.Popen[str]"]:
    """Start `python -m module ...` in a session of its own; no process of it may remain afterwards."""
    mark = uuid4().hex
    environment = {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", MARK: mark}
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
        deadline = time.monotonic() + 20
        while marked(mark) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not marked(mark)
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def marked(mark: str) -> list[int]:
    """The processes whose environment has the mark."""
    numbers = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal()]
    return [pid for pid in numbers if has_mark(pid, mark)]


def has_mark(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def wait_for_step(runs: Path, n: int) -> None:
    metrics = runs / "small" / "metrics.csv"
    deadline = time.monotonic() + DEADLINE_S
    while not metrics.is_file() or dict(read_metrics(metrics).get("loss", [])).keys() < set(range(1, n + 1)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_resumed(arguments: list[str], runs: Path) -> bool:
    """Whether one process can resume the run with the next pairs and finish it."""
    at = load_run(runs / "small", "last").step
    assert 0 < at < STEPS
    assert main([*arguments, "--resume", "--set", "data.pairs.workers=0"]) == 0
    read = dict(read_metrics(runs / "small" / "metrics.csv")["data/read"])
    return list(read) == list(range(1, STEPS + 1)) and read[STEPS] == STEPS * 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_run_leaves_a_checkpoint(arguments, tmp_path, number):
    with started("diptych_training", *arguments) as process:
        wait_for_step(tmp_path / "runs", 5)
        os.killpg(process.pid, number)
        told, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130, told
        assert "stopped at step " in told
        assert "Traceback" not in told
    assert is_resumed(arguments, tmp_path / "runs")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun_leaves_a_checkpoint(arguments, tmp_path, number):
    with started(*TORCHRUN, "-m", "diptych_training", *arguments) as process:
        wait_for_step(tmp_path / "runs", 5)
        os.kill(process.pid, number)
        told, _ = process.communicate(timeout=DEADLINE_S)
        assert told.count("stopped at step ") == 1, told
        assert "diptych-train: " not in told
        assert process.returncode == 1
    assert is_resumed(arguments, tmp_path / "runs")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_at_once_leaves_no_process(arguments, tmp_path, stop):
    with started("diptych_training", *arguments) as process:
        wait_for_step(tmp_path / "runs", 5)
        os.kill(process.pid, signal.SIGSTOP)
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, stop)
        os.kill(process.pid, signal.SIGCONT)
        process.wait(DEADLINE_S)
    assert is_resumed(arguments, tmp_path / "runs")


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize("when", ["wrap", "trial", "5", "40"])
def test_the_remaining_rank_reports_the_loss_before_torchrun_ends_it(arguments, tmp_path, when, attempt):
    with started(*TORCHRUN, "-m", "support.killed_rank", when, *arguments) as process:
        told, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1, told
        assert told.count("another of the 2 ranks is gone") == 1, told
        at = f"step {when}" if when.isdecimal() else "before the first step"
        assert f"diptych-train: {at}: another of the 2 ranks is gone" in told
    if when.isdecimal():
        assert is_resumed(arguments, tmp_path / "runs")


@pytest.mark.parametrize("attempt", range(3))
def test_a_dead_data_worker_is_reported_by_its_rank_and_as_a_loss_by_the_other(arguments, tmp_path, attempt):
    with started(*TORCHRUN, "-m", "diptych_training", *arguments) as process:
        wait_for_step(tmp_path / "runs", 5)
        os.kill(a_data_worker(process.pid), signal.SIGKILL)
        told, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1, told
        assert told.count("a process that prepares data has died") == 1, told
        assert told.count("another of the 2 ranks is gone") == 1, told
    assert is_resumed(arguments, tmp_path / "runs")


def a_data_worker(torchrun: int) -> int:
    """One that began as a child of a rank does."""
    rank = children(torchrun)[-1]
    (*_, worker) = [
        pid for pid in children(rank) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return worker


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_compile_without_a_compiler_is_refused_before_data_is_read(arguments, tmp_path):
    missing = str(tmp_path / "c++")
    environment = {**os.environ, "PYTHONPATH": python_path(), "PATH": str(tmp_path), "CXX": missing}
    command = [sys.executable, "-m", "diptych_training", *arguments, "--set", "scale.compile=true"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "Warning" not in line]
    assert line.startswith("diptych-train: scale.compile: torch.compile does not work here (")
    assert missing in line
    assert "it needs a C++ compiler on CPUs" in line
    assert not (tmp_path / "runs" / "small").exists()
