"""From twenty pictures to changed answers of a running server, while a client asks ten times a second.

    PYTHONPATH=tests python -m benchmarks.refresh_circle

A server serves the default model with its gallery and twenty drawn pictures. `diptych-train refresh --push`
teaches the pictures to the model and pushes the result, and the server moves to it. Takes 6 minutes on two
cores. The status is 1 when a request fails, or when no answer changes.
"""

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from benchmarks.load import JSON, Connection, NoAnswer, percentile, request
from benchmarks.report import conditions, run, say, table
from benchmarks.rollout import version_of
from benchmarks.servers import REPOSITORY, Program, Running, diptych, modules_of, running
from support.default_model import DEFAULT_MODEL, MODEL_REPO

NAME, SYMBOLS, GALLERY = "mine", "symbols", "gallery"
KEY = "circle-of-the-benchmark"
N_PICTURES, PER_S, N_CONNECTIONS, AFTER_S = 20, 10, 16, 10.0
SHOWN = (("pressure gauge", SYMBOLS), ("gate valve", SYMBOLS), ("a red car", GALLERY))
N_HITS = 3
LOADED_WITHIN_S = 120.0


@dataclass
class Asked:
    """What the client saw: latencies, and answers by the model that they name."""

    ms: list[float] = field(default_factory=list)
    models: Counter[str] = field(default_factory=Counter)
    first_changed_at: float | None = None
    failures: list[str] = field(default_factory=list)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="diptych-circle-") as folder:
        pictures = Path(folder, "pictures")
        draw = ["-m", "diptych_training.refresh.example", "--out", str(pictures)]
        subprocess.run(
            [sys.executable, *draw, "--pictures", str(N_PICTURES)],
            check=True,
            env={**os.environ, **modules_of(REPOSITORY)},
        )
        with running(_program(Path(folder))) as server:
            return uvloop.run(_circle(server, Path(folder), pictures))


def _program(folder: Path) -> Program:
    """A server with a repository of its own, as on another machine."""
    found = diptych(
        _repository(folder / "served"), DEFAULT_MODEL, folder / "data",
        "--gallery", str(REPOSITORY / "server" / "gallery"), name="circle",
    )  # fmt: skip
    return replace(found, environment={**found.environment, "DIPTYCH_API_KEY": KEY})


def _repository(folder: Path) -> Path:
    """A repository that has the default model."""
    shutil.copytree(MODEL_REPO / DEFAULT_MODEL, folder / DEFAULT_MODEL)
    return folder


async def _circle(server: Running, folder: Path, pictures: Path) -> int:
    await _run(server, "diptych", "add", str(pictures), "--collection", SYMBOLS, "--id-from", "name")
    before = [await _hits(server, *shown) for shown in SHOWN]
    asked, stopping, began = Asked(), asyncio.Event(), time.perf_counter()
    asking = asyncio.create_task(_ask_on(server, asked, stopping))
    command = ("diptych_training", "refresh", str(pictures), "--name", NAME)
    command += ("--push", f"http://127.0.0.1:{server.port}", "--model-repo", str(_repository(folder / "own")))
    await _run(server, *command, "--runs-dir", str(folder / "runs"))
    refreshed = time.perf_counter()
    await asyncio.sleep(AFTER_S)
    after = [await _hits(server, *shown) for shown in SHOWN]
    stopping.set()
    await asking
    print(_report(asked, before, after, began, refreshed))
    return 1 if asked.failures or before == after or asked.first_changed_at is None else 0


async def _run(server: Running, module: str, *arguments: str) -> None:
    environment = {**os.environ, **modules_of(REPOSITORY), "DIPTYCH_API_KEY": KEY}
    environment["DIPTYCH_URL"] = f"http://127.0.0.1:{server.port}"
    say(f"{module} {' '.join(arguments)}")
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments, env=environment)
    try:
        if await process.wait():
            sys.exit(f"{module} ended with {process.returncode}")
    finally:
        if process.returncode is None:  # the benchmark was interrupted, by a signal that only it may have got
            process.terminate()
            await process.wait()


async def _ask_on(server: Running, asked: Asked, stopping: asyncio.Event) -> None:
    """Ten searches a second, whether or not those before have been answered."""
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(N_CONNECTIONS):
        idle.put_nowait(Connection(server.port))
    under_way, begin = set[asyncio.Task[None]](), time.perf_counter()
    for number in itertools.count():
        await asyncio.sleep(max(0.0, begin + number / PER_S - time.perf_counter()))
        if stopping.is_set():
            break
        task = asyncio.create_task(_ask(idle, _search(*SHOWN[number % len(SHOWN)]), asked))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    while not idle.empty():
        idle.get_nowait().close()


async def _ask(idle: "asyncio.Queue[Connection]", message: bytes, asked: Asked) -> None:
    began, connection = time.perf_counter(), await idle.get()
    try:
        answer = await connection.ask(message)
        if answer.status != 200:
            asked.failures.append(answer.words())
            return
        asked.ms.append(1000 * (time.perf_counter() - began))
        name = answer.json()["model"]["name"]
        asked.models[f"{name}/{version_of(answer)}"] += 1
        if name == NAME and asked.first_changed_at is None:
            asked.first_changed_at = time.perf_counter()
    except NoAnswer as error:
        asked.failures.append(str(error))
    finally:
        idle.put_nowait(connection)


def _search(text: str, collection: str) -> bytes:
    body = f'{{"collection": "{collection}", "k": {N_HITS}, "query": {{"text": "{text}"}}}}'
    return request("POST", "/search", body.encode(), Content_Type=JSON, Authorization=f"Bearer {KEY}")


async def _hits(server: Running, text: str, collection: str) -> list[str]:
    """The first hits of one search, as soon as its collection is loaded."""
    connection = Connection(server.port)
    answer = await connection.ask(_search(text, collection))
    deadline = time.monotonic() + LOADED_WITHIN_S
    while answer.status == 503 and time.monotonic() < deadline:  # the gallery is being loaded
        await asyncio.sleep(1)
        answer = await connection.ask(_search(text, collection))
    connection.close()
    if answer.status != 200:
        sys.exit(answer.words())
    return [f"{hit['cosine']:.3f} {hit['id']}" for hit in answer.json()["hits"]]


def _report(
    asked: Asked, before: Sequence[list[str]], after: Sequence[list[str]], began: float, refreshed: float
) -> str:
    ms = sorted(asked.ms)
    changed_s = (asked.first_changed_at or float("nan")) - began
    models = ", ".join(f"{n:,} of {name}" for name, n in asked.models.items())
    said = [
        conditions("python -m benchmarks.refresh_circle"),
        f"{len(ms) + len(asked.failures):,} searches in {refreshed - began + AFTER_S:.0f} s, "
        f"{len(asked.failures)} failed; answers: {models}; p50 {percentile(ms, 0.5):.0f} ms, "
        f"p99 {percentile(ms, 0.99):.0f} ms. `refresh --push` ended after {refreshed - began:.0f} s; the "
        f"first changed answer came after {changed_s:.0f} s.",
        table(
            ["search", "before", "after"],
            [
                [f"{text}, in {collection}", "<br>".join(old), "<br>".join(new)]
                for (text, collection), old, new in zip(SHOWN, before, after, strict=True)
            ],
        ),
        *sorted(set(asked.failures))[:5],
    ]
    return "\n\n".join(said)


if __name__ == "__main__":
    run(main)
