"""Images added to a collection over HTTP, beside the same images only encoded: what keeping them costs."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from benchmarks.serving.places import REPOSITORY
from benchmarks.serving.servers import Program, diptych, running

MODEL = "pictograms"
PER_REQUEST = 64  # the most images of one add
ROWS = "application/octet-stream"
_run_numbers = itertools.count()


@dataclass(frozen=True)
class Way:
    """How images are sent: so many a request by so many clients."""

    what: Literal["encode", "original", "none"]  # the last two are what a collection keeps of the files
    per_request: int
    clients: int


def ways(per_request: int, clients: int) -> list[Way]:
    """The encoder alone, then the same with everything kept, and with all but the files."""
    return [Way(what, per_request, clients) for what in ("encode", "original", "none")]


@contextmanager
def server(data_dir: Path) -> Iterator[httpx.Client]:
    """The default model as its users start it, on a new data folder."""
    program = diptych(REPOSITORY / "model_repo", MODEL, precision="auto")
    command = [*program.command, "--data-dir", str(data_dir)]
    with running(Program("diptych store", tuple(command), program.ready_path)) as started:
        yield client(f"http://127.0.0.1:{started.port}")


def client(url: str) -> httpx.Client:
    """One that keeps its connections, as many as there are clients."""
    return httpx.Client(base_url=url, timeout=300, verify=False, headers={"Accept": ROWS})


def images_per_second(http: httpx.Client, way: Way, photos: Sequence[bytes]) -> float:
    """All photos once, as no other run has them, and into a collection of its own.

    Nothing is removed between runs: file systems make new files slowly for minutes after many were removed.
    """
    number = next(_run_numbers)
    path = "/embed" if way.what == "encode" else f"{new_collection(http, f'run-{number}', way.what)}/images"
    photos = [as_nowhere_else(photo, number) for photo in photos]
    requests = [photos[start : start + way.per_request] for start in range(0, len(photos), way.per_request)]
    todo, lock = iter(requests), threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while (images := _next(todo, lock)) is not None:
                _send(http, path, images)
        except BaseException as failure:
            failures.append(failure)

    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(way.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return len(photos) / (time.perf_counter() - began)


def as_nowhere_else(photo: bytes, number: int) -> bytes:
    """The same JPEG with a comment: the work of decoding is the same, the file is another."""
    comment = str(number).encode()
    return photo[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + photo[2:]


def new_collection(http: httpx.Client, name: str, keep: str = "original") -> str:
    """Its path."""
    http.post("/collections", json={"name": name, "keep": keep}).raise_for_status()
    return f"/collections/{name}"


def _next(todo: Iterator[Sequence[bytes]], lock: threading.Lock) -> Sequence[bytes] | None:
    with lock:
        return next(todo, None)


def _send(http: httpx.Client, path: str, images: Sequence[bytes]) -> None:
    files = [("image", ("x.jpg", image, "image/jpeg")) for image in images]
    answer = http.post(path, files=files)
    if not answer.is_success:
        raise RuntimeError(f"POST {path}: {answer.status_code} {answer.text[:500]}")
    if path != "/embed":
        require_created(answer)


def require_created(answer: httpx.Response) -> None:
    """Raises RuntimeError unless every item of an add is there now, and was not before."""
    statuses = {outcome["status"] for outcome in json.loads(answer.content)["outcomes"]}
    if statuses != {"created"}:
        raise RuntimeError(f"not all were created: {statuses}")


def in_turns(rounds: int, one: Callable[[Way], float], chosen: Sequence[Way]) -> dict[Way, list[float]]:
    """A, B, A, B: the machine is never the same for long."""
    found: dict[Way, list[float]] = {way: [] for way in chosen}
    for _ in range(rounds):
        for way in chosen:
            found[way].append(one(way))
    return found
