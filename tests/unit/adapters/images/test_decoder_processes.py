"""Decoder processes that crash, hang or exhaust memory lose their own item and nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych.adapters.images import decoder_processes
from diptych.adapters.images.decoder_child import ChildLimits
from diptych.adapters.images.decoder_processes import DecoderProcesses
from diptych.errors import NotReady, TooLarge, UndecodableImage

LIMITS = ChildLimits(memory_bytes=200_000_000, cpu_s=1, wall_s=20)
SOON_S = 60
WANTED = threading.Event()  # and never set
PID = "__import__('os').getpid()"


@pytest.fixture
def processes() -> Iterator[DecoderProcesses]:
    started = DecoderProcesses(LIMITS, 2)
    yield started
    started.close()


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + SOON_S
    while is_alive(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.05)


def test_work_runs_in_a_process_that_is_reused(processes: DecoderProcesses) -> None:
    pids = {processes.run(WANTED, eval, PID) for _ in range(5)}
    assert len(pids) == 1  # the second process is not needed, and not started
    assert os.getpid() not in pids
    with pytest.raises(TooLarge, match="found by the work"):
        processes.run(
            WANTED, exec, "from diptych.errors import TooLarge; raise TooLarge('found by the work')"
        )


@pytest.mark.parametrize(
    ("work", "why"),
    [
        ("import os; os.abort()", "crashed with SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "crashed with SIGSEGV"),
        ("import os; os._exit(3)", "exited with code 3"),
        ("while True: pass", "took more processor time than"),
        ("bytearray(10**9)", "ran out of memory"),
    ],
)
def test_work_that_ends_its_process_is_undecodable_and_the_next_work_runs(
    processes: DecoderProcesses, work: str, why: str
) -> None:
    with pytest.raises(UndecodableImage, match=f"the image decoder {why}"):
        processes.run(WANTED, exec, work)
    assert processes.run(WANTED, len, b"next") == 4


def test_work_that_sleeps_is_ended_after_the_wall_time() -> None:
    processes = DecoderProcesses(ChildLimits(LIMITS.memory_bytes, cpu_s=5, wall_s=1))
    with pytest.raises(UndecodableImage, match="the image decoder took over 1 s"):
        processes.run(WANTED, time.sleep, 100)
    assert processes.run(WANTED, len, b"next") == 4


def test_process_that_dies_between_two_items_is_replaced(processes: DecoderProcesses) -> None:
    pid = processes.run(WANTED, eval, PID)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    assert processes.run(WANTED, eval, PID) != pid


def test_stop_signals_of_the_server_do_not_stop_running_work(processes: DecoderProcesses) -> None:
    code = "import os, signal; [os.kill(os.getpid(), one) for one in (signal.SIGTERM, signal.SIGINT)]"
    assert processes.run(WANTED, exec, code) is None


def test_close_ends_running_work_at_once_and_refuses_more(processes: DecoderProcesses) -> None:
    pid = processes.run(WANTED, eval, PID)
    threading.Timer(0.3, processes.close).start()
    with pytest.raises(NotReady, match="stopping"):
        processes.run(WANTED, time.sleep, 15)
    assert not is_alive(pid)
    with pytest.raises(NotReady, match="stopping"):
        processes.run(WANTED, len, b"")


def test_process_of_a_cancelled_call_is_ended_and_the_next_call_works(
    processes: DecoderProcesses,
) -> None:
    pid, unwanted = processes.run(WANTED, eval, PID), threading.Event()
    threading.Timer(0.3, unwanted.set).start()
    with pytest.raises(NotReady, match="the request for the image has ended"):
        processes.run(unwanted, time.sleep, 15)
    assert not is_alive(pid)
    assert processes.run(WANTED, len, b"next") == 4


@pytest.mark.parametrize(
    "last",
    [
        "print(pid, flush=True); time.sleep(100)",
        "print(pid, flush=True); p.run(threading.Event(), time.sleep, 1)",
    ],
)
def test_processes_end_when_their_parent_is_killed(last: str) -> None:
    program = (
        "import threading, time\n"
        "from diptych.adapters.images.decoder_child import ChildLimits\n"
        "from diptych.adapters.images.decoder_processes import DecoderProcesses\n"
        "p = DecoderProcesses(ChildLimits(200_000_000, 5, 60))\n"
        f"pid = p.run(threading.Event(), eval, {PID!r})\n"
        f"{last}\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    wait_until_gone(pid)


def test_failure_to_start_a_process_is_not_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_processes, "PROGRAM", "this")  # a module that prints a poem and ends
    processes = DecoderProcesses(LIMITS)
    with pytest.raises(NotReady, match="did not start"):
        processes.run(WANTED, len, b"")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(NotReady, match="can be started: No such file"):
        processes.run(WANTED, len, b"")
