"""The bars that serving has to clear, and what was measured; a ratio is of figures of one round or turn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.serving import versus
from benchmarks.serving.bench import Bench
from benchmarks.serving.default_model import MANY_CLIENTS, PER_REQUEST
from benchmarks.serving.findings import Rounds, figures, ratios, rounds
from benchmarks.serving.limit import BATCHES
from benchmarks.serving.measures import median
from benchmarks.serving.turns import MANY, ONE
from diptych_training.evaluate.table import markdown_table


@dataclass(frozen=True)
class Bar:
    """`at_least` or at most `bound`, or told only; `found` has one ratio for each round or turn."""

    what: str
    bound: float | None
    found: Sequence[float]
    at_least: bool = True

    def row(self) -> list[str]:
        bound = "told" if self.bound is None else f"{'>=' if self.at_least else '<='} {self.bound:g}"
        if not self.found:
            return [self.what, bound, "-", "-", "not measured"]
        middle = median(self.found)
        span = f"{min(self.found):.3f} to {max(self.found):.3f}"
        return [self.what, bound, f"{middle:.3f}", span, self._met(middle)]

    def _met(self, middle: float) -> str:
        if self.bound is None:
            return ""
        met = middle >= self.bound if self.at_least else middle <= self.bound
        return "yes" if met else "**no**"


def bars_table(bench: Bench) -> str:
    """All bars."""
    header = ["bar", "bound", "median", "lowest to highest", "met"]
    table = markdown_table(header, [bar.row() for bar in _bars(bench)])
    saved = [one["saved_by_graph"] for one in figures(bench, part="limit").values()]
    return f"{table}\n\n{_explained(saved[0])}" if saved else table


def _explained(saved: float) -> str:
    return (
        "The limit's bar counts the products of the model as it is published, every token through every one. "
        f"The imported graph saves {100 * saved:.1f}% of them, since of the last block only what the pooled "
        "token needs is computed: that counts for the session, as any work does that it need not do. Rows "
        'that are "told" hold it against the limit of the products that the graph still has: how near those '
        "run to the machine's speed, with all that lies between them. No bar is set for that."
    )


def _bars(bench: Bench) -> Iterator[Bar]:
    yield from _limit(bench)
    for precision, bound in (("fp32", 0.95), ("int8", 0.9)):
        for decode in bench.decodes:
            yield from _beside(bench, precision, decode, bound)
    yield from _rival(bench)
    for precision in bench.precisions:
        yield from _labels(bench, precision)
    yield _default(bench)


def _limit(bench: Bench) -> Iterator[Bar]:
    for batch in BATCHES:
        found = rounds(bench, "ratio", part="limit", batch=batch)
        what = f"bare fp32 session over the limit of matrix products, batch {batch}"
        yield Bar(what, 0.95, list(found.values()))
        found = rounds(bench, "ratio_of_graph", part="limit", batch=batch)
        yield Bar(
            f"the same over the limit of the graph's own products, batch {batch}", None, list(found.values())
        )
        found = rounds(bench, "ratio_of_weights", part="limit", batch=batch)
        what = f"the same over the limit of products with weights alone, batch {batch}"
        yield Bar(what, None, list(found.values()))


def _beside(bench: Bench, precision: str, decode: str, bound: float) -> Iterator[Bar]:
    found = figures(bench, part="beside", precision=precision, decode=decode).values()
    ours = f"{precision} {decode}"
    per_s = [ratio for one in found for ratio in one["ratio"]]
    yield Bar(f"{ours}: images/s at 32 clients over in-process, in turns", bound, per_s)
    p50 = [ratio for one in found for ratio in one["p50_ratio"]]
    yield Bar(f"{ours}: p50 at one client over in-process, in turns", 1.15, p50, at_least=False)


def _rival(bench: Bench) -> Iterator[Bar]:
    for precision, faster, quicker in (("fp32", 1.25, 0.55), ("int8", 3.0, 0.25)):
        ours = versus.our_server(bench, precision)
        found = _versus(bench, ours, "image", MANY, "per_s")
        yield Bar(f"{ours}: images/s at 32 clients over {versus.RIVAL}, in turns", faster, found)
        found = _versus(bench, ours, "image", ONE, "p50_ms")
        what = f"{ours}: p50 at one client over {versus.RIVAL}, in turns"
        yield Bar(what, quicker, found, at_least=False)
    for precision, bound in (("fp32", 1.3), ("int8", 2.5)):
        for clients in versus.CLIENTS:
            found = _versus(bench, versus.our_server(bench, precision), "text", clients, "per_s")
            yield Bar(f"{precision}: texts/s over {versus.RIVAL}, clients: {clients}, in turns", bound, found)


def _versus(bench: Bench, ours: str, kind: str, clients: int, figure: str) -> list[float]:
    """The ratios of all turns of all rounds."""
    found = figures(bench, part="versus", kind=kind, clients=clients).values()
    return [ratio for one in found for ratio in one[figure].get(ours, [])]


def _labels(bench: Bench, precision: str) -> Iterator[Bar]:
    same = {"part": "classify", "precision": precision, "kind": "in turns"}
    labelled = rounds(bench, "latency.classify 1000.p50_ms", **same)
    for kind in ("embed form", "embed raw"):
        found = ratios(labelled, rounds(bench, f"latency.{kind}.p50_ms", **same))
        what = f"{precision}: /classify, 1,000 known labels, over /embed ({kind.split()[1]} body)"
        yield Bar(f"{what}, p50 at one client", 1.05, found, at_least=False)


def _default(bench: Bench) -> Bar:
    windows = [_window(bench, "diptych auto exact", "64 pictures", clients) for clients in MANY_CLIENTS]
    most: Rounds = {}
    for window in windows:
        for number, per_s in window.items():
            most[number] = max(most.get(number, 0.0), PER_REQUEST * per_s)
    found = ratios(most, rounds(bench, "per_s", part="default bare"))
    return Bar("default model: images/s at 64 a request over its bare session", 0.6, found)


def _window(bench: Bench, server: str, kind: str, clients: int, figure: str = "per_s") -> Rounds:
    return rounds(bench, figure, part="http", server=server, kind=kind, clients=clients)
