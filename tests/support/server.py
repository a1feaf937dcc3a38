"""Run `diptych serve` as a process on a free port.

The process is a fork of one that has imported everything. `start_command` starts it as a user does.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.forked import POLL_S, Forked, shared_forks

WITHIN_S = 60
GALLERY_WITHIN_S = 180


@dataclass(frozen=True)
class RunningServer:
    """A server process. Its log has one JSON object per line."""

    url: str
    process: Forked
    log_file: Path

    def log(self) -> list[dict[str, Any]]:
        """Return all JSON lines so far."""
        return log_lines(self.log_file)

    def wait_until_gallery_is_filled(self, n_images: int | None = None) -> None:
        """Wait until the log says so. If given, `n_images` must have been loaded."""
        deadline = time.monotonic() + GALLERY_WITHIN_S
        while not (lines := [line for line in self.log() if line["message"] == "the gallery is loaded"]):
            assert time.monotonic() < deadline, f"the gallery is not loaded: {self.log_file.read_text()}"
            time.sleep(0.05)
        assert n_images in {None, lines[0]["images"]}, lines[0]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal, wait, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=WITHIN_S)


# Nothing to measure: tests start many servers. Flags that come later win.
FIXED_PLAN = ("--n-threads", "1", "--n-lanes", "1", "--max-batch-size", "16")


@contextmanager
def serve(
    model_repo: Path,
    model: str,
    data_dir: Path,
    *flags: str,
    environment: Mapping[str, str] | None = None,
    constants: Mapping[str, float] | None = None,
) -> Iterator[RunningServer]:
    """Start a server, wait until it is ready, stop it at the end. `constants`: see `Forks.start`."""
    process, log_file = start(
        model_repo, model, data_dir, *flags, environment=environment, constants=constants
    )
    try:
        url = url_when_ready(process, log_file)
        assert url is not None, f"the server ended: {log_file.read_text()}"
        yield RunningServer(url, process, log_file)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=WITHIN_S)


def start(
    model_repo: Path,
    model: str,
    data_dir: Path,
    *flags: str,
    environment: Mapping[str, str] | None = None,
    constants: Mapping[str, float] | None = None,
) -> tuple[Forked, Path]:
    """Start a server without waiting: the process and its log. The caller waits for its end."""
    log_file = _new_log(data_dir)
    arguments = serve_command(model_repo, model, data_dir, *flags)
    return shared_forks().start(arguments, log_file, environment, constants), log_file


def start_command(
    model_repo: Path, model: str, data_dir: Path, *flags: str
) -> "tuple[subprocess.Popen[bytes], Path]":
    """Start a server with a new Python, which takes longer."""
    log_file = _new_log(data_dir)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DIPTYCH_")}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "diptych", *serve_command(model_repo, model, data_dir, *flags)],
            stderr=log, stdout=log, env=ours,
        )  # fmt: skip
    return process, log_file


def serve_command(model_repo: Path, model: str, data_dir: Path, *flags: str) -> list[str]:
    """Return the arguments of `diptych`."""
    where = ["--port", "0", "--model-repo", str(model_repo), "--model", model, "--data-dir", str(data_dir)]
    return ["serve", *where, *FIXED_PLAN, *flags]


def _new_log(data_dir: Path) -> Path:
    data_dir.mkdir(parents=True, exist_ok=True)
    return data_dir / "server.log"


def log_lines(log_file: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a log, without a line that is still being written."""
    lines = log_file.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def url_when_ready(process: Forked, log_file: Path) -> str | None:
    """Wait and return the URL; None if the server has ended before."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        for line in log_lines(log_file):
            if line["message"] == "ready":
                return str(line["url"])
        if process.poll() is not None:
            return None
        time.sleep(POLL_S)
    process.kill()
    raise AssertionError(f"the server is not ready: {log_file.read_text()}")
