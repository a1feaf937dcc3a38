"""Items from another process: its death is an error at once, and it outlives nobody."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest

from diptych_training.data.pairs.stream.worker import PREFETCHED, Worker, WorkerDied
from support.child_python import python_path
from support.worker_items import Blocks, Broken

LARGE = 2**26  # bytes, of which a connection holds few


@pytest.fixture
def worker() -> Iterator[Worker[bytes]]:
    worker = Worker[bytes]()
    yield worker
    worker.close()


def pid() -> int:
    (process,) = multiprocessing.active_children()
    assert process.pid is not None
    return process.pid


def test_a_worker_that_is_killed_within_an_item_is_an_error_and_not_a_wait_for_ever(worker):
    worker.begin(Blocks(LARGE))
    next(worker)
    time.sleep(0.3)  # now the next one is on its way, and larger than what lies between
    os.kill(pid(), signal.SIGSTOP)
    kill = Timer(0.1, os.kill, (pid(), signal.SIGKILL))
    kill.start()
    with pytest.raises(WorkerDied, match="SIGKILL"):
        next(worker)


def test_a_worker_that_dies_while_it_starts_is_an_error_too(worker):
    os.kill(pid(), signal.SIGKILL)
    with pytest.raises(WorkerDied, match="SIGKILL"):
        worker.begin(Blocks(LARGE))
        next(worker)


def test_an_error_of_the_making_ends_the_process_and_is_told_where_it_was(capfd):
    worker = Worker[bytes]()  # not by the fixture: its standard error would be that of before the test
    worker.begin(Broken())
    with pytest.raises(WorkerDied, match=r"^process \d+ ended with exit code 1$"):
        for _ in range(PREFETCHED):
            next(worker)
    worker.close()
    assert "ZeroDivisionError: a bug of the making" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_that_stop_the_loop_leave_its_workers_alone_from_the_start(worker, number):
    os.kill(pid(), number)
    worker.begin(Blocks(2**22))  # of which a connection holds none: who sends them all is alive
    next(worker)
    os.kill(pid(), number)
    for _ in range(3 * PREFETCHED):
        assert next(worker)


def test_the_loop_itself_hears_signals_as_before():
    held_back = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with closing(Worker[bytes]()):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == held_back == set()


@pytest.mark.parametrize("ending", ["killed", "terminated", "returned"])
def test_no_worker_outlives_its_parent_nor_holds_it_up(ending):
    program = [sys.executable, "-m", "support.worker_items", ending]
    environment = {**os.environ, "PYTHONPATH": python_path()}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == {"killed": -9, "terminated": -15, "returned": 0}[ending], done.stderr
    assert done.stderr == ""
    deadline = time.monotonic() + 60
    while is_running(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(int(done.stdout))


def is_running(pid: int) -> bool:
    """Not so of one that has ended and only waits for its new parent to notice."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False
