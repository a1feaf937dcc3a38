"""Watch a server process from outside: its readiness and its memory."""

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
    """Fail if `/readyz` was ever not 200 inside the block."""
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
    """Return the bytes that the process has in memory now."""
    return _status(server, "VmRSS")


def peak_bytes(server: RunningServer) -> int:
    """Return the most bytes that the process ever had in memory."""
    return _status(server, "VmHWM")


def errors_in_log(server: RunningServer) -> list[str]:
    """Return the error messages and the lines that are not log lines. Refused requests are neither."""
    lines = server.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    past = [line[:200] for line in lines if not line.startswith("{")]
    return past + [str(line["message"]) for line in server.log() if line["level"] == "error"]


def _status(server: RunningServer, name: str) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(lines.partition(f"{name}:")[2].split()[0]) * 1024
