"""Start one server as a process of its own, wait until it is ready, stop it; knows no measurement."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.serving import processes
from benchmarks.serving.places import REPOSITORY, in_cache

READY_WITHIN_S = 300
STOPPED_WITHIN_S = 40
SETTLE_S = 1.0
PORT = "{port}"


@dataclass(frozen=True)
class Program:
    """How a server is started: `{port}` in the command is where it shall listen."""

    name: str
    command: tuple[str, ...]
    ready_path: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A server that is ready, and what it then held in memory."""

    name: str
    port: int
    pid: int
    loaded: processes.Memory
    load_s: float


def diptych(
    model_repo: Path, model: str, *flags: str, precision: str = "fp32", decode: str = "exact"
) -> Program:
    """Our own server with one precision in memory; with `auto` as its users start it."""
    command = [sys.executable, "-m", "diptych", "serve", "--port", PORT, "--model-repo", str(model_repo)]
    command += ["--model", model, "--data-dir", str(in_cache("data", f"{model}-{precision}")), *flags]
    if precision != "auto":
        command += ["--precision", precision, "--collection-precision", precision]
    if decode != "exact":
        command += ["--decode", decode]
    return Program(f"diptych {precision} {decode}", tuple(command), "/readyz")


@contextmanager
def running(program: Program) -> Iterator[Running]:
    """Its output goes to a log in the cache. Raises RuntimeError with its end when it does not start."""
    log = log_of(program.name)
    port = _free_port()
    command = [port_or_word.replace(PORT, str(port)) for port_or_word in program.command]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DIPTYCH_")}
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            cwd=REPOSITORY,
            env={**clean, **program.environment},
            process_group=0,  # Ctrl-C is for us: we end it when we are done with it
        )
    try:
        _wait_until_ready(process, port, program, log)
        load_s = time.monotonic() - began
        time.sleep(SETTLE_S)
        yield Running(program.name, port, process.pid, processes.memory(process.pid), load_s)
        if process.poll() is not None:
            raise RuntimeError(f"{program.name} ended by itself: {_tail(log)}")
    finally:
        _stop(process)


def log_of(name: str) -> Path:
    """Where the output of the server of this name goes."""
    return in_cache("logs", f"{name.replace(' ', '-')}.log")


def post(port: int, path: str, body: bytes, content_type: str, accept: str = "application/json") -> bytes:
    """One request outside of any measurement: the body of the answer. Raises RuntimeError for an error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", path, body, {"Content-Type": content_type, "Accept": accept})
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"POST {path}: {answer.status} {data[:1000].decode(errors='replace')}")
    return data


def get(port: int, path: str) -> Any:
    """What a server of ours answers in JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def way_of(server: Running) -> dict[str, Any]:
    """The precision that a server of ours answers in, and the plan that it runs it by."""
    serving = next(model["serving"] for model in get(server.port, "/models")["models"] if model["serving"])
    plan = serving["embed"]["plan"]
    told = (
        f"{plan['n_lanes']} lanes, {plan['image_batch_size']} images, {plan['text_batch_size']} texts, "
        f"decode {plan['n_decode_threads']}"
        if plan
        else "none"
    )
    return {"precision": serving["embed"]["precision"], "plan": told}


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
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
