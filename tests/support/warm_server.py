"""Many starts of `diptych serve` in a fraction of the time: forks of a process that has imported everything.

Each server is a process of its own with its own threads; only the imports, most of a start, were done before.

    with WarmServers(model_repo, TINY) as warm:
        server = warm.start(data_dir)             # no wait
        url = server.url_when_ready()             # None when it ended before
        server.kill(); server.wait()

`python -m support.warm_server` is the forking side: it reads one JSON object a line, and answers each.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.server import FIXED_PLAN, WITHIN_S, log_lines

POLL_S = 0.01
# All but onnxruntime, which starts a thread when it is imported: a fork would be without it.
IMPORTED = (
    "diptych.adapters.faiss_index",
    "diptych.adapters.https_fetcher",
    "diptych.adapters.pillow_decoder",
    "diptych.adapters.prometheus_metrics",
    "diptych.adapters.sqlite_store",
    "diptych.bundle.repository",
    "diptych.bundle.text",
    "diptych.http.app",
    "diptych.settings",
    "diptych_client",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)


@dataclass(frozen=True)
class WarmServer:
    """One forked server."""

    pid: int
    log_file: Path
    warm: "WarmServers"

    def url_when_ready(self) -> str | None:
        """None when it was killed before it was ready."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            for line in log_lines(self.log_file):
                if line["message"] == "ready":
                    return str(line["url"])
            if self.has_ended():
                return None
            time.sleep(POLL_S)
        raise AssertionError(f"the server is not ready: {self.log_file.read_text()}")

    def has_ended(self) -> bool:
        """Whether it is gone; it may be waited for."""
        return bool(self.warm.ask({"poll": self.pid})["ended"])

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit status, negative for a signal."""
        return int(self.warm.ask({"wait": self.pid})["status"])


class WarmServers:
    """The process that forks; the servers end with it."""

    def __init__(self, model_repo: Path, model: str) -> None:
        self._arguments = ["--port", "0", "--model-repo", str(model_repo), "--model", model, *FIXED_PLAN]
        ours = {name: value for name, value in os.environ.items() if not name.startswith("DIPTYCH_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.warm_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**ours, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
        )

    def __enter__(self) -> "WarmServers":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=WITHIN_S)  # the end of its input is its end

    def start(
        self,
        data_dir: Path,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        log_file: Path | None = None,
    ) -> WarmServer:
        """Fork a server; its log is made anew, in its data folder unless told otherwise."""
        if log_file is None:
            data_dir.mkdir(parents=True, exist_ok=True)
            log_file = data_dir / "server.log"
        log_file.write_bytes(b"")
        arguments = ["serve", "--data-dir", str(data_dir), *self._arguments, *flags]
        told = {"start": arguments, "log": str(log_file), "environment": dict(environment or {})}
        return WarmServer(int(self.ask(told)["pid"]), log_file, self)

    def ask(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """One line there, one line back."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def main() -> None:
    """Fork as told until the input ends."""
    for module in IMPORTED:
        importlib.import_module(module)
    threads = sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    assert len(threads) == 1, threads  # the others would be missing after a fork
    ended: dict[int, int] = {}
    for line in sys.stdin:
        told = json.loads(line)
        if "start" in told:
            pid = os.fork()
            if pid == 0:
                _become_server(told)
            _say(pid=pid)
        elif "poll" in told:
            _reap(told["poll"], ended, os.WNOHANG)
            _say(ended=told["poll"] in ended)
        elif "wait" in told:
            _reap(told["wait"], ended, 0)
            _say(status=ended[told["wait"]])
        else:
            raise ValueError(line)


def _become_server(told: Mapping[str, Any]) -> None:
    """Does not return."""
    log = os.open(told["log"], os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, descriptor)
    os.environ.update(told["environment"])
    status = 1
    try:
        from diptych.cli import main as diptych  # noqa: PLC0415 - see IMPORTED

        status = diptych(told["start"])
    finally:
        sys.stderr.flush()
        os._exit(status)


def _reap(pid: int, ended: dict[int, int], flags: int) -> None:
    if pid not in ended:
        found, status = os.waitpid(pid, flags)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)


def _say(**answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
