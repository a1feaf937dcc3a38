"""The in-process reference: the best batch and threads of a grid, and windows of them."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product

from benchmarks.serving.bench import Bench
from benchmarks.serving.model import MAIN, bundle
from benchmarks.serving.photos import photo_file
from benchmarks.serving.reference import Cell
from benchmarks.serving.store import Figures
from benchmarks.serving.workers import ask
from diptych_training.evaluate.table import markdown_table

BATCHES = (1, 4, 8, 16)
GRID_SHARE = 0.25  # of a window, for each cell: the best ones are measured again in full
N_BEST = 2


def measure_grids(bench: Bench, number: int) -> None:
    """Every precision and decode mode, once for all rounds; prints each grid."""
    if number:
        return
    for precision, decode in product(bench.precisions, bench.decodes):
        cells = grid(bench, precision, decode)
        bench.say(
            f"{precision} {decode}: images/s by batch; lanes x threads of each, decode threads\n"
            f"{_table(cells)}"
        )


def grid(bench: Bench, precision: str, decode: str) -> list[Figures]:
    """All cells; each way to encode in a process of its own, so that one session is in use."""
    cells = list[Figures]()
    for lanes, encoder_threads in _ways():
        row = [Cell(batch, lanes, encoder_threads, d) for batch, d in product(BATCHES, _threads())]
        cells += bench.measure(
            lambda row=row: {"cells": _measure(precision, decode, bench.seconds * GRID_SHARE, row)},
            part="inprocess",
            precision=precision,
            decode=decode,
            lanes=lanes,
            encoder_threads=encoder_threads,
        )["cells"]
    return cells


def best_cells(cells: Sequence[Figures], n_cells: int = N_BEST) -> list[Cell]:
    """The fastest of a grid."""
    ordered = sorted(cells, key=lambda cell: -cell["per_s"])[:n_cells]
    return [
        Cell(one["batch"], one["lanes"], one["encoder_threads"], one["decode_threads"]) for one in ordered
    ]


def in_window(precision: str, decode: str, seconds: float, cell: Cell | None = None) -> Figures:
    """One window of one way to share the cores; of none: one image at a time."""
    return _measure(precision, decode, seconds, [cell] if cell else [])[0]


def _measure(precision: str, decode: str, seconds: float, cells: Sequence[Cell]) -> list[Figures]:
    """See `reference.measure`."""
    found: list[Figures] = ask(
        "reference",
        folder=str(bundle(MAIN)),
        precision=precision,
        decode=decode,
        photos=str(photo_file()),
        seconds=seconds,
        cells=[asdict(cell) for cell in cells],
    )
    return found


def grids_table(bench: Bench) -> str:
    """All grids that were measured, as one table."""
    rows = []
    for precision, decode in product(bench.precisions, bench.decodes):
        found = bench.store.all(part="inprocess", precision=precision, decode=decode, seconds=bench.seconds)
        cells = [cell for _, figures in found for cell in figures["cells"]]
        rows += [[f"{precision} {decode}, {row[0]}", *row[1:]] for row in (_rows(cells) if cells else [])]
    return markdown_table(["in one process, batch", *_columns()], rows) if rows else ""


def _table(cells: Sequence[Figures]) -> str:
    return markdown_table(["batch", *_columns()], _rows(cells))


def _rows(cells: Sequence[Figures]) -> list[list[str]]:
    """By batch, in the order of `_columns`."""
    per_s = {
        (one["batch"], one["lanes"], one["encoder_threads"], one["decode_threads"]): one["per_s"]
        for one in cells
    }
    ways = [(*way, d) for way, d in product(_ways(), _threads())]
    return [
        [str(batch), *(f"{per_s[batch, *way]:.1f}" if (batch, *way) in per_s else "-" for way in ways)]
        for batch in BATCHES
    ]


def _columns() -> list[str]:
    return [f"{lanes} x {e}, {d}" for (lanes, e), d in product(_ways(), _threads())]


def _ways() -> list[tuple[int, int]]:
    """Lanes and threads of each: one thread, all threads on one batch, a batch for each thread."""
    n_threads = len(os.sched_getaffinity(0))
    return sorted({(1, 1), (1, n_threads), (n_threads, 1)})


def _threads() -> list[int]:
    return sorted({1, len(os.sched_getaffinity(0))})
