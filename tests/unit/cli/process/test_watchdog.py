"""How a process ends one of whose threads never returns. Each test is a process of its own."""

import subprocess
import sys

LOST = """
import asyncio, threading
from diptych.cli.process import watchdog as last_exit
from diptych.cli.process.watchdog import Watchdog

last_exit.FAREWELL_S = 0.05
last_exit.SLACK_S = 0.05

async def serve():
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.run_in_executor(None, threading.Event().wait) if {hangs} else None
    ending = Watchdog(stopped.set if {stops} else print, 0)
    if {hangs}:
        ending.lost("for a reason")
        ending.lost("and again")
        await stopped.wait()
    ending.exit_if_lost()

asyncio.run(serve())
"""


def status(*, hangs: bool, stops: bool) -> tuple[int, str]:
    code = LOST.format(hangs=hangs, stops=stops)
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, check=False, timeout=30, capture_output=True, text=True)
    return ended.returncode, ended.stderr


def test_orderly_end_does_not_wait_for_the_lost_thread() -> None:
    code, log = status(hangs=True, stops=True)
    assert code == 1
    assert log.count("a thread of it is lost: for a reason") == 1
    assert "again" not in log


def test_end_comes_even_when_the_orderly_one_does_not() -> None:
    assert status(hangs=True, stops=False)[0] == 1


def test_process_that_lost_nothing_goes_its_way() -> None:
    assert status(hangs=False, stops=True) == (0, "")
