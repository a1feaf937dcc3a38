"""`make bench-store`: what it costs to keep images and rows so that they last, and how that grows.

    PYTHONPATH=tests python -m benchmarks.store [--quick] [--write FILE]

Everything is asked over HTTP, of servers whose data lies in the temporary folder, which should be on a disk.
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import inputs
from benchmarks.load import (
    MULTIPART,
    OCTETS,
    Part,
    Requests,
    Window,
    add_vectors,
    ask_once,
    form,
    in_turns,
    post,
    post_json,
    ratios,
    request,
    spread,
    window,
)
from benchmarks.report import (
    Verdict,
    command_line,
    conditions,
    finish,
    parser,
    run,
    say,
    table,
    verdicts_table,
)
from benchmarks.servers import Running, diptych, running
from diptych.bundle.manifest import read_manifest
from support.default_model import DEFAULT_MODEL, MODEL_REPO, default_bundle

MARKS = "bench-store"
SHAPES = ((1, 1), (1, 8), (64, 1), (64, 2))  # images a request, clients
N_PHOTOS, BATCH, PAGE = 256, 1_000, 100
EMBED_DIM = read_manifest(default_bundle()).embed_dim
ADD_BAR, ROWS_BAR = 0.9, 5_000
COLOURS = ("red", "green", "blue", "grey")
FILTERS: dict[str, dict[str, Any]] = {
    "equality": {"colour": "red"},
    "range": {"year": {"gte": 2000, "lt": 2010}},
    "set, of an array": {"tags": {"in": ["cat", "bird"]}},
    "and, or, not": {
        "or": [
            {"year": {"lt": 1995}},
            {"and": [{"colour": {"in": ["red", "blue"]}}, {"not": {"tags": "dog"}}]},
        ]
    },
}


@dataclass
class Growth:
    """What a collection of so many rows costs."""

    n_rows: int
    rows_per_s: list[float] = field(default_factory=list)  # of each request of `BATCH` rows
    data_mb: float = 0.0
    ready_s: float = 0.0
    resident_mb: float = 0.0
    ms: dict[str, float] = field(default_factory=dict)


def main() -> int:
    args = parser(__doc__, quick="one short round, few rows").parse_args()
    rounds, seconds, sizes = 5, 3.0, (10_000, 100_000, 1_000_000)
    if args.quick:
        rounds, seconds, sizes = 1, 1.0, (2_000, 4_000)
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder:
        added = adding(Path(folder, "images"), rounds, seconds)
        grown = list(growing(Path(folder, "rows"), sizes, seconds))
    said = (
        f"{conditions(command_line('bench-store', 'STORE'))} The default model; photographs of 640 x 480, "
        "all distinct; encoding and adding take turns, medians of the rounds (lowest to highest). Rows have "
        f"ready-made vectors of {EMBED_DIM} numbers and five fields, {BATCH:,} a request, each answered once "
        "its commit is fsynced."
    )
    verdicts = [*_adding_verdicts(added), *_growth_verdicts(grown)]
    report = [said, adding_table(added), growth_table(grown), verdicts_table(verdicts)]
    finish("\n\n".join(report) + "\n", args.write, MARKS)
    return 0


def adding(data_dir: Path, rounds: int, seconds: float) -> dict[tuple[int, int], list[list[Window]]]:
    """Of each shape: images only encoded, added, and added without their files."""
    numbers = itertools.count()
    with running(diptych(MODEL_REPO, DEFAULT_MODEL, data_dir, name="store")) as server:
        for keep in ("original", "none"):
            ask_once(server, post_json("/collections", {"name": keep, "keep": keep}))
        found = {}
        for per_request, n_clients in SHAPES:
            say(f"{per_request} images a request, {n_clients} clients")
            paths = ("/embed", "/collections/original/images", "/collections/none/images")
            kinds = [Requests(new_images(path, per_request, numbers), per_request) for path in paths]
            measures = [partial(window, server, kind, n_clients, seconds) for kind in kinds]
            found[per_request, n_clients] = in_turns(rounds, measures)
    for windows in itertools.chain(*(one for shape in found.values() for one in shape)):
        if windows.n_errors:
            sys.exit(f"{windows.n_errors} requests failed: {windows.errors[0]}")
    return found


def new_images(path: str, per_request: int, numbers: Iterator[int]) -> Iterator[bytes]:
    """Photographs that were never sent before, in forms."""
    photos = itertools.cycle(inputs.photos(N_PHOTOS))
    accept = OCTETS if path == "/embed" else "application/json"
    while True:
        files = [as_nowhere_else(next(photos), next(numbers)) for _ in range(per_request)]
        yield post(path, form([Part("image", file, "image/jpeg") for file in files]), MULTIPART, accept)


def as_nowhere_else(photo: bytes, number: int) -> bytes:
    """The same JPEG with a comment: decoding is the same work, the file is another."""
    comment = str(number).encode()
    return photo[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + photo[2:]


def growing(data_dir: Path, sizes: Sequence[int], seconds: float) -> Iterator[Growth]:
    """A collection that grows from size to size; the server is started anew at each one."""
    program = diptych(MODEL_REPO, DEFAULT_MODEL, data_dir, name="store")
    rng, there = np.random.default_rng(0), 0
    with running(program) as server:
        ask_once(server, post_json("/collections", {"name": "rows"}))
    for n_rows in sizes:
        say(f"{n_rows:,} rows")
        found = Growth(n_rows)
        with running(program) as server:
            for start in range(there, n_rows, BATCH):
                message = new_rows(rng, start)
                began = time.perf_counter()
                ask_once(server, message)
                found.rows_per_s.append(BATCH / (time.perf_counter() - began))
        there = n_rows
        found.data_mb = sum(file.stat().st_size for file in data_dir.rglob("*") if file.is_file()) / 1e6
        with running(program) as server:
            found.ready_s = server.ready_s
            _asking(server, found, seconds)
        yield found


def _asking(server: Running, found: Growth, seconds: float) -> None:
    """Searches by the vector of a row, alone and with each filter; a page of the list."""
    numbers = itertools.count(1)
    middle = row_id(found.n_rows // 2)
    page = request("GET", f"/collections/rows/images?limit={PAGE}&after={middle}")
    kinds = {f"list, a page of {PAGE} in the middle": Requests([page])}
    for name, clause in {"": None, **FILTERS}.items():
        body = {"collection": "rows", "k": 10} | ({"filter": clause} if clause else {})
        ids = (row_id(number * 7919 % found.n_rows) for number in numbers)
        queries = (post_json("/search", body | {"query": {"id": id}}) for id in ids)
        kinds[f"search, filter: {name}" if name else "search"] = Requests(queries)
    for name, kind in kinds.items():
        one = window(server, kind, 1, seconds)
        if one.n_errors:
            sys.exit(f"{name}: {one.errors[0]}")
        found.ms[name], found.resident_mb = one.p50_ms, one.resident_mb


def new_rows(rng: np.random.Generator, start: int) -> bytes:
    """An add of `BATCH` rows with ready-made vectors to the collection `rows`."""
    rows = rng.standard_normal((BATCH, EMBED_DIM)).astype("<f4")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    numbers, origin = range(start, start + BATCH), (DEFAULT_MODEL, int(default_bundle().name))
    return add_vectors("rows", origin, list(map(row_id, numbers)), rows, list(map(_metadata, numbers)))


def _metadata(n: int) -> dict[str, Any]:
    tags = ["cat", "sofa"] if n % 5 == 0 else ["dog"]
    named = {"title": f"picture number {n} of the set", "tags": tags}
    return {"year": 1990 + n % 36, "colour": COLOURS[n % 4], "price": n % 1000 / 7, **named}


def row_id(n: int) -> str:
    """The id of row n."""
    return f"image-{n:08}"


def adding_table(added: dict[tuple[int, int], list[list[Window]]]) -> str:
    """Images a second of each shape, and round by round the share of encoding that adding leaves."""
    cells = []
    for (per_request, n_clients), found in added.items():
        encoded, *kept = ([one.per_s for one in windows] for windows in found)
        what = f"{per_request} image{'s' * (per_request > 1)} a request, clients: {n_clients}"
        shares = [f"{median(ratios(one, encoded)):.2f}" for one in kept]
        cells.append([what, *(spread(one, 0) for one in (encoded, *kept)), *shares])
    header = ["only encoded (`/embed`)", "added", "added, files not kept", "ratio", "ratio, not kept"]
    return table(["images/s", *header], cells)


def growth_table(grown: Sequence[Growth]) -> str:
    """One column for each number of rows."""
    rows = [
        ["written, rows/s, median request", *(f"{median(one.rows_per_s):,.0f}" for one in grown)],
        ["written, rows/s, slowest request", *(f"{min(one.rows_per_s):,.0f}" for one in grown)],
        ["data folder, MB", *(f"{one.data_mb:,.0f}" for one in grown)],
        ["memory of the server, MB", *(f"{one.resident_mb:,.0f}" for one in grown)],
        ["start until ready, s", *(f"{one.ready_s:.1f}" for one in grown)],
    ]
    rows += [[f"{name}, p50 ms", *(f"{one.ms[name]:,.1f}" for one in grown)] for name in grown[0].ms]
    return table(["rows", *(f"{one.n_rows:,}" for one in grown)], rows)


def _adding_verdicts(added: dict[tuple[int, int], list[list[Window]]]) -> Iterator[Verdict]:
    for (per_request, n_clients), (encoded, original, _) in added.items():
        if per_request > 1:
            share = median(ratios([one.per_s for one in original], [one.per_s for one in encoded]))
            what = f"{per_request} images an add, clients: {n_clients}, over encoding alone"
            yield Verdict(what, f">= {ADD_BAR}", f"{share:.2f}", share >= ADD_BAR)


def _growth_verdicts(grown: Sequence[Growth]) -> Iterator[Verdict]:
    for one in grown:
        middle = median(one.rows_per_s)
        what = f"ready-made vectors, rows/s up to {one.n_rows:,}"
        yield Verdict(what, f">= {ROWS_BAR:,}", f"{middle:,.0f}", middle >= ROWS_BAR)


if __name__ == "__main__":
    run(main)
