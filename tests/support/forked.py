"""Run commands of `diptych` as forks of a process that has imported everything.

Each fork has its own threads, files and environment.

    with Forks() as forks:
        process = forks.start(["serve", ...], log_file)      # no wait; used as a Popen
        process.terminate(); process.wait(timeout=60)

`python -m support.forked` is the forking side: it reads one JSON object a line, and answers each.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache, partialmethod
from pathlib import Path
from typing import Any

from diptych.core.limits import Limits

WITHIN_S = 60
POLL_S = 0.01
# All but onnxruntime, which starts a thread when it is imported: a fork would be without it.
IMPORTED = (
    "diptych.adapters.faiss.cpu_index",
    "diptych.adapters.fetching.https_fetcher",
    "diptych.adapters.images.pillow_decoder",
    "diptych.adapters.prometheus",
    "diptych.adapters.sqlite.store",
    "diptych.bundle.repository",
    "diptych.bundle.text.tokenizer",
    "diptych.http.app",
    "diptych.settings",
    "diptych_client",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)


class Forked:
    """One process, with the part of the interface of `Popen` that tests need."""

    def __init__(self, forks: "Forks", pid: int) -> None:
        self._forks = forks
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""
        if self.returncode is None:
            self.returncode = self._forks.ask({"poll": self.pid})["status"]
        return self.returncode

    def wait(self, timeout: float = WITHIN_S) -> int:
        """Wait for the end and return the exit status."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(POLL_S)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that forks. It ends with its input, at the latest with this process."""

    def __init__(self) -> None:
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.forked"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=WITHIN_S)

    def start(
        self,
        arguments: Sequence[str],
        log_file: Path,
        environment: Mapping[str, str] | None = None,
        constants: Mapping[str, float] | None = None,
    ) -> Forked:
        """Fork a process of `diptych` with these arguments and a new log file.

        Its environment is that of the tests without settings of the server, plus what is given. `constants`:
        other values of constant limits (`max_add_items`) and of modules (`diptych.wiring.version.NAME`).
        """
        log_file.write_bytes(b"")
        ours = {name: value for name, value in os.environ.items() if not name.startswith("DIPTYCH_")}
        told = {"start": [*arguments], "log": str(log_file), "folder": str(Path.cwd())}
        told["constants"] = {**(constants or {})}
        return Forked(self, self.ask({**told, "environment": {**ours, **(environment or {})}})["pid"])

    def ask(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Send one line and read one line."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(told) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@cache
def shared_forks() -> Forks:
    """Return the `Forks` that all tests of this process share."""
    return Forks()


def main() -> None:
    """Fork on request until the input ends."""
    for module in IMPORTED:
        importlib.import_module(module)
    threads = sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    assert len(threads) == 1, threads  # the others would be missing after a fork
    for line in sys.stdin:
        told = json.loads(line)
        if "start" in told:
            pid = os.fork()
            if pid == 0:
                _become_command(told)
            _say(pid=pid)
        else:
            found, status = os.waitpid(told["poll"], os.WNOHANG)
            _say(status=os.waitstatus_to_exitcode(status) if found else None)


def _become_command(told: Mapping[str, Any]) -> None:
    """Run the command in this fork. Does not return."""
    log = os.open(told["log"], os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, descriptor)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    status = 1
    try:
        from diptych.cli import main as diptych  # noqa: PLC0415 - see IMPORTED

        _change_constants(told["constants"])
        status = diptych(told["start"])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _change_constants(constants: Mapping[str, float]) -> None:
    """Change constants of this process, before the server reads them."""
    limits = {name: value for name, value in constants.items() if "." not in name}
    Limits.__init__ = partialmethod(Limits.__init__, **limits)  # type: ignore[assignment]
    for place in constants.keys() - limits.keys():
        module, _, name = place.rpartition(".")
        holder = importlib.import_module(module)
        assert hasattr(holder, name), place
        setattr(holder, name, constants[place])


def _say(**answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
