"""The process ends although one of its threads never returns. Each test runs a process of its own."""

import subprocess
import sys

PROGRAM = """
import asyncio, threading
from diptych.cli.process import watchdog
from diptych.cli.process.watchdog import Watchdog

watchdog.GRACE_S = 0.05
watchdog.SLACK_S = 0.05

async def serve():
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.run_in_executor(None, threading.Event().wait) if {hangs} else None
    watcher = Watchdog(stopped.set if {stops} else print, 0)
    if {hangs}:
        watcher.report_hang("for a reason")
        watcher.report_hang("and again")
        await stopped.wait()
    watcher.exit_if_hanging()

asyncio.run(serve())
"""


def status(*, hangs: bool, stops: bool) -> tuple[int, str]:
    code = PROGRAM.format(hangs=hangs, stops=stops)
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, check=False, timeout=30, capture_output=True, text=True)
    return ended.returncode, ended.stderr


def test_orderly_stop_does_not_wait_for_a_hanging_thread() -> None:
    code, log = status(hangs=True, stops=True)
    assert code == 1
    assert log.count("one of its threads hangs: for a reason") == 1
    assert "again" not in log


def test_process_ends_even_if_the_orderly_stop_does_not() -> None:
    assert status(hangs=True, stops=False)[0] == 1
