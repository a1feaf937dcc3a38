"""Watch a server process from outside: whether it is ready all the time, and how much memory it holds."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from support.server import RunningServer

EVERY_S = 0.05
TIMEOUT_S = 20  # two cores are busy meanwhile


@contextmanager
def ready_throughout(server: RunningServer) -> Iterator[None]:
    """Fails when `/readyz` was ever anything but 200 in between."""
    wrong: list[str] = []
    n_asked, ended = 0, threading.Event()

    def ask() -> None:
        nonlocal n_asked
        with httpx.Client(base_url=server.url, timeout=TIMEOUT_S) as client:
            while not ended.wait(EVERY_S):
                n_asked += 1
                try:
                    answer = client.get("/readyz")
                except httpx.HTTPError as error:
                    wrong.append(repr(error))
                else:
                    if answer.status_code != 200:
                        wrong.append(answer.text)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert wrong == []
    assert n_asked > 0


def resident_bytes(server: RunningServer) -> int:
    """What the process holds in memory now."""
    return _status(server, "VmRSS")


def peak_bytes(server: RunningServer) -> int:
    """The most that it ever held."""
    return _status(server, "VmHWM")


def errors_in_log(server: RunningServer) -> list[str]:
    """Messages of lines of level error, and what was written past the log: what is refused is neither."""
    lines = server.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    past = [line[:200] for line in lines if not line.startswith("{")]
    return past + [str(line["message"]) for line in server.log() if line["level"] == "error"]


def _status(server: RunningServer, name: str) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(lines.partition(f"{name}:")[2].split()[0]) * 1024
