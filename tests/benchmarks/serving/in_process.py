"""The in-process reference: the best batch and threads of a grid, and windows of them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from itertools import groupby, product

from benchmarks.serving.bench import Bench
from benchmarks.serving.model import MAIN, bundle
from benchmarks.serving.photos import photo_file
from benchmarks.serving.reference import Cell
from benchmarks.serving.sharing import decode_options, lane_options, n_cpus
from benchmarks.serving.store import Figures
from benchmarks.serving.workers import Ask, resident
from diptych_training.evaluate.table import markdown_table

FIRST_BATCH = 8
BATCHES = (1, 4, FIRST_BATCH, 16, 32)  # all that a plan of the server may have on a CPU
GRID_SHARE = 0.25  # of a window, for each cell: the best ones are measured again for longer
CLOSE = 0.85  # of the best: ways below it with the first batch are not tried with others
N_BEST = 3


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
    """Every way to share the cores with one batch, then those that came close with the other batches."""
    first = _cells(
        bench, precision, decode, [Cell(FIRST_BATCH, *way, d) for way, d in product(_ways(), _threads())]
    )
    others = [batch for batch in BATCHES if batch != FIRST_BATCH]
    rest = [Cell(**{**asdict(cell), "batch": batch}) for cell in close_ones(first) for batch in others]
    return first + _cells(bench, precision, decode, rest)


def close_ones(cells: Sequence[Figures], share: float = CLOSE) -> list[Cell]:
    """Those that are not far below the best, the best first."""
    least = share * max(cell["per_s"] for cell in cells)
    return best_cells([cell for cell in cells if cell["per_s"] >= least], len(cells))


def _cells(bench: Bench, precision: str, decode: str, cells: Sequence[Cell]) -> list[Figures]:
    """Each way to encode in a process of its own, so that one session is in use."""
    found = list[Figures]()
    for (lanes, encoder_threads), row in _by_way(cells):
        found += bench.measure(
            lambda row=row: {"cells": _of_row(precision, decode, bench.seconds * GRID_SHARE, row)},
            part="inprocess",
            precision=precision,
            decode=decode,
            lanes=lanes,
            encoder_threads=encoder_threads,
            cells=[[cell.batch, cell.decode_threads] for cell in row],
        )["cells"]
    return found


def _of_row(precision: str, decode: str, seconds: float, row: Sequence[Cell]) -> list[Figures]:
    with reference() as ask:
        return _measure(ask, precision, decode, seconds, row)


def _by_way(cells: Sequence[Cell]) -> list[tuple[tuple[int, int], list[Cell]]]:
    def way(cell: Cell) -> tuple[int, int]:
        return cell.lanes, cell.encoder_threads

    return [(name, list(row)) for name, row in groupby(sorted(cells, key=way), way)]


def best_cells(cells: Sequence[Figures], n_cells: int = N_BEST) -> list[Cell]:
    """The fastest of a grid."""
    ordered = sorted(cells, key=lambda cell: -cell["per_s"])[:n_cells]
    return [
        Cell(one["batch"], one["lanes"], one["encoder_threads"], one["decode_threads"]) for one in ordered
    ]


def reference() -> AbstractContextManager[Ask]:
    """A process that keeps the encoders of all windows that it is asked for."""
    return resident("reference")


def in_windows(ask: Ask, precision: str, decode: str, seconds: float, cells: Sequence[Cell]) -> list[Figures]:
    """One window of each, in their order."""
    found: dict[Cell, Figures] = {}
    threads = {cell.encoder_threads: None for cell in cells}
    for n_threads in threads:
        alike = [cell for cell in cells if cell.encoder_threads == n_threads]
        found |= zip(alike, _measure(ask, precision, decode, seconds, alike), strict=True)
    return [found[cell] for cell in cells]


def one_at_a_time(ask: Ask, precision: str, decode: str, seconds: float) -> Figures:
    """One window of one image after the other."""
    return _measure(ask, precision, decode, seconds, [])[0]


def _measure(ask: Ask, precision: str, decode: str, seconds: float, cells: Sequence[Cell]) -> list[Figures]:
    """See `reference.measure`."""
    found: list[Figures] = ask(
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
    """Lanes and threads of each: those of the server's plans, and one thread for all encoding."""
    n_threads = n_cpus()
    return sorted({(1, 1), *((lanes, n_threads // lanes) for lanes in lane_options(n_threads))})


def _threads() -> list[int]:
    return decode_options(n_cpus())
