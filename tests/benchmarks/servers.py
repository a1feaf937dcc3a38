"""Start a server as a process, wait until it is ready, read its processor time and memory, stop it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("clients/python/src", "server/src", "training/src")
READY_WITHIN_S = 300
STOPPED_WITHIN_S = 60
PORT = "{port}"
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_TIMES = slice(11, 15)  # of /proc/PID/stat behind the command's name: utime, stime, cutime, cstime


@dataclass(frozen=True)
class Program:
    """How a server is started; `{port}` in the command is where it listens."""

    name: str
    command: tuple[str, ...]
    ready_path: str = "/readyz"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A server that is ready."""

    name: str
    port: int
    pid: int
    ready_s: float
    log: Path


def in_cache(*names: str) -> Path:
    """A path below `~/.cache/diptych/bench` (or XDG_CACHE_HOME) whose folder exists."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base, "diptych", "bench", *names)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def modules_of(checkout: Path) -> dict[str, str]:
    """The environment in which Python runs the code of a checkout, with the packages installed here."""
    return {"PYTHONPATH": os.pathsep.join(str(checkout / sources) for sources in SOURCES)}


def diptych(
    model_repo: Path,
    model: str,
    data_dir: Path,
    *flags: str,
    checkout: Path = REPOSITORY,
    name: str = "diptych",
) -> Program:
    """`diptych serve` of one checkout."""
    command = [sys.executable, "-m", "diptych", "serve", "--port", PORT, "--model-repo", str(model_repo)]
    command += ["--model", model, "--data-dir", str(data_dir), *flags]
    return Program(name, tuple(command), environment=modules_of(checkout))


@contextmanager
def running(program: Program) -> Iterator[Running]:
    """A server whose standard error goes to a log in the cache. Raises RuntimeError if it ends."""
    log, port = in_cache("logs", f"{program.name.replace('/', '-')}.log"), free_port()
    began = time.monotonic()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DIPTYCH_")}
    with log.open("wb") as errors, log.with_suffix(".out").open("wb") as out:
        process = subprocess.Popen(
            [word.replace(PORT, str(port)) for word in program.command],
            stdout=out, stderr=errors, cwd=in_cache("nowhere").parent, env={**clean, **program.environment},
            process_group=0,  # Ctrl-C is for the benchmark, which ends the server when it is done with it
        )  # fmt: skip
    try:
        _wait_until_ready(process, port, program, log)
        yield Running(program.name, port, process.pid, time.monotonic() - began, log)
        if process.poll() is not None:
            raise RuntimeError(f"{program.name} ended by itself: {_tail(log)}")
    finally:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def get_json(port: int, path: str) -> Any:
    """The answer to a GET outside of any measurement. Raises OSError, as HTTPError if it is an error."""
    with _DIRECTLY.open(f"http://127.0.0.1:{port}{path}", timeout=300) as answer:
        return json.load(answer)


def layout_of(server: Running) -> tuple[str, str]:
    """The precision that a diptych serves in, and its plan in words."""
    models = get_json(server.port, "/models")["models"]
    serving = next(model["serving"] for model in models if model["serving"])
    serving = serving.get("embed", serving)  # an earlier commit tells of requests and of collections
    plan = serving["plan"] or {}
    return serving["precision"], ", ".join(f"{name} {value}" for name, value in plan.items()) or "none"


def processes(pid: int) -> Iterator[int]:
    """The process and its descendants; none of those that are gone."""
    yield pid
    for thread in Path("/proc", str(pid), "task").glob("*/children"):
        for child in _read(thread).split():
            yield from processes(int(child))


def cpu_seconds(pid: int) -> float:
    """Processor seconds of the process and its descendants so far, ended children included."""
    stats = (_read(Path("/proc", str(one), "stat")).rpartition(")")[2].split() for one in processes(pid))
    return sum(sum(map(int, fields[_TIMES])) for fields in stats) / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Resident memory of the process and its descendants; pages that they share count for each."""
    return sum(_resident(one) for one in processes(pid))


def _resident(pid: int) -> int:
    fields = _read(Path("/proc", str(pid), "statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):  # the process ended meanwhile
        return ""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, program: Program, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{program.name} ended with {process.returncode}: {_tail(log)}")
        if _answers(port, program.ready_path):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{program.name} was not ready within {READY_WITHIN_S} s: {_tail(log)}")


def _answers(port: int, path: str) -> bool:
    try:
        _DIRECTLY.open(f"http://127.0.0.1:{port}{path}", timeout=5).close()
    except OSError:
        return False
    return True


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
