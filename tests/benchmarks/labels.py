"""Label sets: how long they take to label a large collection of ready-made vectors, over HTTP.

PYTHONPATH=tests python -m benchmarks.labels [--rows N] [--labels C] [--write FILE]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.report import OtherPrograms, conditions, finish, run, say, table
from benchmarks.servers import diptych, running
from diptych_client import Client
from support.default_model import DEFAULT_MODEL, MODEL_REPO

MARKS = "bench-labels"
LARGE, KIND, AT_ONCE, N_REPEATS, N_DRAWN = "large", "kind", 5_000, 5, 200
KINDS: tuple[Literal["one", "many"], ...] = ("one", "many")


def main() -> int:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, metavar="N")
    parser.add_argument("--labels", type=int, default=100, metavar="C")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the file's marks")
    args = parser.parse_args()
    others = OtherPrograms()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(diptych(MODEL_REPO, DEFAULT_MODEL, Path(folder))) as server,
        Client(f"http://127.0.0.1:{server.port}") as client,
    ):
        measured = _measured(client, args.rows, args.labels)
    command = f"PYTHONPATH=tests python -m benchmarks.labels --rows {args.rows} --labels {args.labels}"
    what = f"{args.rows:,} images, {args.labels:,} labels; once each, the last column medians of {N_REPEATS}."
    header = ["seconds", "for the first time", "again"]
    finish(f"{conditions(command)} {others.said()} {what}\n\n{table(header, measured)}\n", args.write, MARKS)
    return 0


def _measured(client: Client, n_rows: int, n_labels: int) -> list[list[str]]:
    rng = np.random.default_rng(0)
    client.create_collection(LARGE)
    for start in range(0, n_rows, AT_ONCE):
        _add(client, rng, start, min(AT_ONCE, n_rows - start))
    say(f"{n_rows:,} vectors are stored")
    labels = [f"thing number {n}" for n in range(n_labels)]
    filter = {"label": {"set": KIND, "in": labels[:1]}}
    rows = [
        [
            "define the set, encode its labels",
            _seconds(lambda: client.put_label_set(LARGE, KIND, labels)),
            "",
        ],
        _row("label all images, count them", lambda: client.label_set(LARGE, KIND)),
        _row(
            "a page of 100, the uncertain first",
            lambda: client.labelled_images(LARGE, KIND, uncertain_first=True),
        ),
        _row("20 to review next", lambda: client.label_proposals(LARGE, KIND)),
        _row(
            "a list of 10 with a label, by a filter",
            lambda: client.list_images(LARGE, limit=10, filter=filter),
        ),
        _row("export as JSON Lines", lambda: client.export_labels(LARGE, KIND)),
    ]
    _add(client, rng, n_rows, 100)
    rows.append(_row("count them after 100 were added", lambda: client.label_set(LARGE, KIND)))
    verdicts = {f"row-{i:07}": labels[i % n_labels] for i in range(N_DRAWN)}
    for kind in KINDS:
        client.put_label_set(LARGE, kind, labels, kind=kind, precision=0.5)
        client.give_verdicts(LARGE, kind, verdicts, drawn=verdicts)
        what = f"label all images to a precision, kind {kind}, count them"
        rows.append(_row(what, partial(client.label_set, LARGE, kind)))
    client.give_verdicts(LARGE, KINDS[0], {"row-0000000": None})
    return [*rows, _row("count them after a verdict", lambda: client.label_set(LARGE, KINDS[0]))]


def _row(name: str, ask: Callable[[], Any]) -> list[str]:
    return [name, _seconds(ask), _seconds(ask, N_REPEATS)]


def _add(client: Client, rng: np.random.Generator, start: int, n: int) -> None:
    made = client.embed(texts=["a thing"])
    rows = rng.standard_normal((n, len(made.texts[0].embedding)), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = [f"row-{start + i:07}" for i in range(n)]
    client.add_vectors(rows, ids=ids, model=made.model, collection=LARGE)


def _seconds(ask: Callable[[], Any], n: int = 1) -> str:
    found = []
    for _ in range(n):
        began = time.perf_counter()
        ask()
        found.append(time.perf_counter() - began)
    return f"{np.median(found):.2f}"


if __name__ == "__main__":
    run(main)
