"""The tables of the default model in Markdown; measures nothing, judges nothing."""

from benchmarks.serving.bench import Bench
from benchmarks.serving.default_model import (
    BODIES,
    BODY_CLIENTS,
    MANY_CLIENTS,
    PER_REQUEST,
    PROFILED,
    SINGLE_CLIENTS,
)
from benchmarks.serving.findings import figures, middle, rounds, spell
from benchmarks.serving.profile import STAGES
from diptych_training.evaluate.table import markdown_table

HTTP = {"part": "http", "server": "diptych auto exact"}


def default_table(bench: Bench) -> str:
    """The default model."""
    rows = []
    for kind, clients, each in (("picture", SINGLE_CLIENTS, 1), ("64 pictures", MANY_CLIENTS, PER_REQUEST)):
        for n in clients:
            window = {**HTTP, "kind": kind, "clients": n}
            per_s = [each * value for value in rounds(bench, "per_s", **window).values()]
            cpu = middle(rounds(bench, "server_cpu", **window).values())
            rows.append([f"{kind} a request, clients: {n}", spell(per_s, 0), _p50(bench, window), cpu])
    bare = {"part": "default bare"}
    rows.append(["bare session at its best batch", spell(rounds(bench, "per_s", **bare).values(), 0), "", ""])
    table = markdown_table(["default model", "images/s", "p50 ms", "cores, server"], rows)
    ways = figures(bench, part="default precision").values()
    return "\n\n".join([table, *(f"The server ran it in {way['precision']}: {way['plan']}." for way in ways)])


def profile_table(bench: Bench) -> str:
    """Where the time of the default model's server goes, for each picture."""
    asked = [(kind().name, clients) for kind, clients in PROFILED]
    header = ["ms a picture", *(f"{kind} a request, clients: {clients}" for kind, clients in asked)]
    windows = [{"part": "default profile", "kind": kind, "clients": clients} for kind, clients in asked]

    def row(what: str, figure: str, digits: int = 2) -> list[str]:
        return [what, *(middle(rounds(bench, figure, **window).values(), digits) for window in windows)]

    rows = [
        row("processor, event loop: HTTP, bodies, answers", "loop_ms"),
        row("processor, threads: decode and encode", "threads_ms"),
        *(row(f"in stage {name}, waiting included", f"stage_ms.{name}") for name in STAGES),
        row("pictures in a batch", "batch", 1),
    ]
    alone = middle(rounds(bench, "cpu_ms", part="default decoding").values(), 2)
    bare = figures(bench, part="default bare").values()
    encoding = middle((1000 * one["cpu"] / one["per_s"] for one in bare), 2)
    below = (
        f"By themselves, in processor time: decoding {alone} ms, the bare session {encoding} ms a picture."
    )
    return f"{markdown_table(header, rows)}\n\n{below}"


def bodies_table(bench: Bench) -> str:
    """One picture a request by the form of its body."""
    few, many = BODY_CLIENTS
    header = [
        "one picture a request",
        f"requests/s, {few}",
        f"requests/s, {many}",
        f"p50 ms, {few}",
        f"event loop, ms a request, {many}",
    ]
    rows = []
    for kind, told in BODIES.items():
        windows = [{**HTTP, "kind": kind, "clients": clients} for clients in BODY_CLIENTS]
        row = [told, *(spell(rounds(bench, "per_s", **window).values(), 0) for window in windows)]
        loop = rounds(bench, "loop_ms", part="default profile", kind=kind, clients=many)
        rows.append([*row, _p50(bench, windows[0]), middle(loop.values(), 2)])
    return markdown_table(header, rows)


def _p50(bench: Bench, window: dict[str, object]) -> str:
    return middle(rounds(bench, "p50_ms", **window).values())
