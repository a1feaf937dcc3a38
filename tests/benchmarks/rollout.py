"""`make bench-rollout`: requests while the server moves a collection to another version of its model.

While it moves, load and pauses take turns: requests come first, so that nearly all images are embedded in the
pauses.

    PYTHONPATH=tests python -m benchmarks.rollout [--quick] [--images N] [--seconds S] [--write FILE]

The collection is filled once and kept in the cache; each run works on a copy. With `--write`, a figure of the
run is drawn beside FILE, in `figures/rollout.png`. The status is 1 when a bar is missed.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import uvloop

from benchmarks import inputs
from benchmarks.load import (
    OCTETS,
    WITHIN_S,
    Answer,
    Connection,
    NoAnswer,
    Part,
    Requests,
    ask_once,
    created,
    post,
    post_form,
    post_json,
    request,
)
from benchmarks.report import command_line, conditions, finish, parser, run, say, verdicts_table
from benchmarks.rollout_report import (
    PHASES,
    Record,
    Sample,
    Span,
    drawn,
    phases_table,
    rollout_table,
    verdicts_of,
)
from benchmarks.servers import Program, Running, diptych, get_json, in_cache, resident_bytes, running
from support.default_model import DEFAULT_MODEL, MODEL_REPO, default_bundle

MARKS = "bench-rollout"
COLLECTION = "pictures"
CLIENTS = {"search": 2, "embed": 1}
N_IMAGES, N_QUICK, SECONDS, QUICK_S = 100_000, 2_000, 60.0, 10.0
N_CAPTIONS, N_EMBEDDED = 5_000, 512  # distinct requests
PER_ADD, N_ADDERS = 64, 2
WARM_S, POLL_S = 3.0, 0.5
MANUAL = {"DIPTYCH_ROLLOUT": "manual"}
_VERSION = re.compile(rb'"version":\s*(\d+)')


def main() -> int:
    flags = parser(__doc__, quick=f"{N_QUICK:,} images")
    flags.add_argument("--images", type=int, metavar="N", help=f"in the collection (default {N_IMAGES:,})")
    of_load = "of load before and after the rollout, and of each turn during it"
    flags.add_argument("--seconds", type=float, metavar="S", help=of_load)
    args = flags.parse_args()
    n_images = args.images or (N_QUICK if args.quick else N_IMAGES)
    seconds = args.seconds or (QUICK_S if args.quick else SECONDS)
    repository = inputs.with_changed_version(DEFAULT_MODEL)
    with working_copy(filled(n_images)) as data_dir, running(program(repository, data_dir)) as server:
        target = int(inputs.bundle_of(repository, DEFAULT_MODEL).name)
        record = uvloop.run(measured(server, n_images, target, seconds))
    verdicts = list(verdicts_of(record))
    said = f"{conditions(command_line('bench-rollout', 'ROLLOUT'))} {setting(record)}"
    report = [said, phases_table(record), rollout_table(record), verdicts_table(verdicts)]
    if record.failures:
        report.append("\n".join(sorted(set(record.failures))[:10]))
    if args.write:
        (args.write.parent / "figures" / "rollout.png").write_bytes(drawn(record))
    finish("\n\n".join(report) + "\n", args.write, MARKS)
    return 0 if all(verdict.met for verdict in verdicts) else 1


def program(repository: Path, data_dir: Path) -> Program:
    """A server that moves to a version only when it is activated."""
    found = diptych(repository, DEFAULT_MODEL, data_dir, "--allow-ungated", name="rollout")
    return replace(found, environment={**found.environment, **MANUAL})


def filled(n_images: int) -> Path:
    """A data folder with so many images, embedded by the committed version. It is made once."""
    bundle = default_bundle()
    folder = in_cache("rollout", f"{DEFAULT_MODEL}-{bundle.name}-{n_images}")
    if not folder.exists():
        say(f"filling a collection with {n_images:,} images: once")
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        with running(program(MODEL_REPO, part)) as server:
            ask_once(server, post_json("/collections", {"name": COLLECTION}))
            asyncio.run(_fill(server, n_images))
        part.rename(folder)
    return folder


async def _fill(server: Running, n_images: int) -> None:
    starts = iter(range(0, n_images, PER_ADD))
    path = f"/collections/{COLLECTION}/images"

    async def add() -> None:
        connection = Connection(server.port)
        for start in starts:
            files = list(inputs.variants(start, min(start + PER_ADD, n_images)))
            items = [{"id": f"picture-{start + number:07}"} for number in range(len(files))]
            parts = [Part("image", file, "image/jpeg") for file in files]
            named = Part("items", json.dumps(items).encode())
            created(await connection.ask(post_form(path, [*parts, named])))
        connection.close()

    await asyncio.gather(*(add() for _ in range(N_ADDERS)))


@contextlib.contextmanager
def working_copy(data_dir: Path) -> Iterator[Path]:
    """A copy for one run. Images are hard links, since a server never changes one."""
    copy = in_cache("rollout", "run")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data_dir, copy, ignore=shutil.ignore_patterns("images", "lock"))
    shutil.copytree(data_dir / "images", copy / "images", copy_function=os.link)
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


async def measured(server: Running, n_images: int, target: int, seconds: float) -> Record:
    """Load before, during and after a rollout."""
    record, sending, stopping = Record(n_images), asyncio.Event(), asyncio.Event()
    sending.set()
    n_found = get_json(server.port, f"/collections/{COLLECTION}")["n_images"]
    if n_found != n_images:
        sys.exit(f"the collection has {n_found} images instead of {n_images}")
    requests = {"search": Requests(_searches()), "embed": Requests(_embeds())}
    tasks = [
        asyncio.create_task(_client(server.port, kind, requests[kind], record, sending, stopping))
        for kind, n_clients in CLIENTS.items()
        for _ in range(n_clients)
    ]
    control = Connection(server.port)
    await asyncio.sleep(WARM_S)
    record.precisions.append(await _precision(control))
    say(f"load for {seconds:g} s")
    began = time.perf_counter()
    await _sampled(server, record, began + seconds)
    say(f"activating version {target}")
    activated = time.perf_counter()
    activate = post_json(f"/models/{DEFAULT_MODEL}/versions/{target}/activate", {})
    rollout = created(await control.ask(activate))
    turns = asyncio.create_task(_turns(record, sending, seconds))
    await _until_active(server, control, rollout["id"], record)
    turns.cancel()
    await asyncio.wait([turns])
    active = time.perf_counter()
    record.precisions.append(await _precision(control))
    say(f"active after {active - activated:.0f} s; load for {seconds:g} s")
    await _sampled(server, record, active + seconds)
    record.phases = dict(
        zip(PHASES, [(began, activated), (activated, active), (active, active + seconds)], strict=True)
    )
    stopping.set()
    await asyncio.gather(*tasks)
    control.close()
    return record


def _searches() -> list[bytes]:
    return [
        post_json("/search", {"collection": COLLECTION, "k": 10, "query": {"text": text}})
        for text in inputs.captions(N_CAPTIONS)
    ]


def _embeds() -> list[bytes]:
    return [post("/embed", picture, "image/jpeg", OCTETS) for picture in inputs.variants(0, N_EMBEDDED)]


async def _precision(control: Connection) -> str:
    """The one in which `/embed` answers."""
    models = (await control.ask(request("GET", "/models"))).json()["models"]
    return str(models[0]["serving"]["precision"])


async def _turns(record: Record, sending: asyncio.Event, seconds: float) -> None:
    """Load and pauses in turn, until it is cancelled; then load."""
    while True:
        await asyncio.sleep(seconds)
        sending.clear()
        began = time.perf_counter()
        try:
            await asyncio.sleep(seconds)
        finally:
            record.quiet.append((began, time.perf_counter()))
            sending.set()


async def _client(
    port: int, kind: str, requests: Requests, record: Record, sending: asyncio.Event, stopping: asyncio.Event
) -> None:
    """Sends its next request when it has the last answer."""
    connection, last = Connection(port), 0
    while not stopping.is_set():
        await sending.wait()
        message, began = next(requests), time.perf_counter()
        try:
            answer = await connection.ask(message)
        except NoAnswer as error:
            record.failures.append(str(error))
            continue
        if answer.status != 200:
            record.failures.append(answer.words())
            continue
        version = version_of(answer)
        record.spans.append(Span(kind, began, time.perf_counter(), version))
        record.n_back += version < last
        last = version
    connection.close()


def version_of(answer: Answer) -> int:
    """The version that an answer names. Raises ValueError if there is none."""
    if "x-diptych-version" in answer.headers:
        return int(answer.headers["x-diptych-version"])
    found = _VERSION.search(answer.body)
    if found is None:
        raise ValueError(f"the answer names no version: {answer.words()}")
    return int(found[1])


async def _sampled(server: Running, record: Record, until: float) -> None:
    while time.perf_counter() < until:
        record.samples.append(Sample(time.perf_counter(), resident_bytes(server.pid) / 1e6))
        await asyncio.sleep(POLL_S)


async def _until_active(server: Running, control: Connection, id: str, record: Record) -> None:
    state, shown = "", time.perf_counter()
    while state != "active":
        await asyncio.sleep(POLL_S)
        found = (await control.ask(request("GET", f"/rollouts/{id}"), within_s=WITHIN_S)).json()
        state, progress = found["state"], found["progress"] or {}
        if state in {"failed", "cancelled"}:
            sys.exit(f"the rollout is {state}: {found['reason']}")
        now, n_embedded = time.perf_counter(), progress.get("n_embedded")
        record.samples.append(Sample(now, resident_bytes(server.pid) / 1e6, n_embedded, state))
        if now - shown > 30:
            say(f"{state}, {n_embedded or 0:,} images")
            shown = now


def setting(record: Record) -> str:
    """What was done, in words."""
    clients = " and ".join(
        f"{n} that {'search by words' if kind == 'search' else 'embed a picture'}"
        for kind, n in CLIENTS.items()
    )
    return (
        f"The default model, and a version of it with noise on its weights; {record.n_images:,} pictures of "
        f"128 x 128 in one collection. Clients, each with one request at a time: {clients}. "
        "During the rollout, load and pauses take turns. Re-embedding gets a tenth of the encoder time "
        "under load and all of it in the pauses. "
        f"`/embed` answers in {record.precisions[0]} before and in {record.precisions[1]} after."
    )


if __name__ == "__main__":
    run(main)
