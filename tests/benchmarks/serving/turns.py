"""Our server and the same work in one process, in turns of seconds: a machine's slow minute meets both."""

from collections.abc import Sequence

from benchmarks.serving.bench import Bench
from benchmarks.serving.in_process import best_cells, grid, in_windows, one_at_a_time, reference
from benchmarks.serving.load import Asked
from benchmarks.serving.measures import median, percentile
from benchmarks.serving.reference import Cell
from benchmarks.serving.servers import Running
from benchmarks.serving.store import Figures
from benchmarks.serving.windows import short_window, window
from benchmarks.serving.workers import resident

TURNS = 10
# One image at a time and one client are so quick that they can take turns within a turn: a machine that is
# slow for a second then is so for both. Ten turns of 2 s of one server gave 1.05, then 1.15, where eighty of
# a quarter of a second gave 1.108 and 1.105.
PAIR_S, PAIR_WARM_S = 0.25, 0.1
TURN_SHARE, MIN_TURN_S = 0.5, 4.0  # of a window; but at least so long, where windows are
MANY, ONE = 32, 1  # clients
SUMS, LEAST, MOST = ("n", "seconds"), ("n_least",), ("resident_mb", "peak_mb")


def take_turns(
    bench: Bench, server: Running, kind: Asked, precision: str, decode: str, number: int
) -> Figures:
    """Windows of the best cells of the grid, of the server at `MANY`, of one image at a time, at `ONE`.

    The cell that is told is the one with the best median over the turns. In the ratio of a turn it is the one
    that is best in the others: the best of several is also the one that the noise of its turns favoured.
    """
    return bench.measure(
        lambda: _turns(bench, server, kind, best_cells(grid(bench, precision, decode)), precision, decode),
        part="beside",
        precision=precision,
        decode=decode,
        round=number,
    )


def _turns(
    bench: Bench, server: Running, kind: Asked, cells: Sequence[Cell], precision: str, decode: str
) -> Figures:
    seconds = short_turn_s(bench.seconds)
    n_pairs = n_pairs_in(seconds)
    busy, single = [list[Figures]() for _ in cells], list[Figures]()
    many, one = list[Figures](), list[Figures]()
    with reference() as ask, resident("load") as load:
        for _ in range(TURNS):
            for found, cell in zip(busy, in_windows(ask, precision, decode, seconds, cells), strict=True):
                found.append(cell)
            many.append(window(bench, server, [kind], MANY, seconds))
            alone, alone_http = list[Figures](), list[Figures]()
            for _ in range(n_pairs):
                alone.append(one_at_a_time(ask, precision, decode, seconds / n_pairs))
                alone_http.append(short_window(load, server, kind, ONE, seconds / n_pairs, PAIR_WARM_S))
            single.append(as_one(alone))
            one.append(as_one(alone_http))
    return {
        **together(best_of(busy)),
        **{name: together(single)[name] for name in ("p50_ms", "p99_ms")},
        "ratio": over_best(many, busy),
        "p50_ratio": ratios(one, single, "p50_ms"),
        "http": {str(MANY): together(many), str(ONE): together(one)},
    }


def n_pairs_in(seconds: float) -> int:
    """How often one image at a time and one client take turns within a turn of so long."""
    return max(1, round(seconds / PAIR_S))


def as_one(windows: Sequence[Figures]) -> Figures:
    """Windows that tell the `ms` of each request as a longer one, which does not: a median of a few would
    depend on how many fit into a short one."""
    ms = [taken for one in windows for taken in one["ms"]]
    told = together([{name: value for name, value in one.items() if name != "ms"} for one in windows])
    latency = {"p50_ms": percentile(ms, 0.5), "p99_ms": percentile(ms, 0.99)}
    return told | latency | {"n": len(ms), "n_least": len(ms)}


def best_of(cells: Sequence[list[Figures]], but: int = -1) -> list[Figures]:
    """The turns of the cell with the most images a second at the median of its turns but one."""
    return max(cells, key=lambda turns: median([one["per_s"] for n, one in enumerate(turns) if n != but]))


def over_best(http: Sequence[Figures], cells: Sequence[list[Figures]]) -> list[float]:
    """The server in each turn over the cell that is the best in the others."""
    return ratios(http, [best_of(cells, but=turn)[turn] for turn in range(len(http))], "per_s")


def turn_s(window_s: float) -> float:
    """Seconds of one window of a turn."""
    return max(window_s * TURN_SHARE, min(MIN_TURN_S, window_s))


def short_turn_s(window_s: float) -> float:
    """Half of that, where no model is loaded anew for a turn: more turns are of more of a machine's moods."""
    return turn_s(window_s) / 2


def together(windows: Sequence[Figures]) -> Figures:
    """Several windows of one thing as one: counts added, of memory the most, of the rest the median."""
    found: Figures = {}
    for name, value in windows[0].items():
        values = [one[name] for one in windows]
        if name in SUMS:
            found[name] = sum(values)
        elif name in LEAST:
            found[name] = min(values)
        elif name in MOST or name.startswith("p99"):
            found[name] = max(values)
        else:
            found[name] = median(values) if isinstance(value, float) else value
    return found


def ratios(above: Sequence[Figures], below: Sequence[Figures], figure: str) -> list[float]:
    """Of each turn; the two have equally many."""
    return [one[figure] / other[figure] for one, other in zip(above, below, strict=True)]
