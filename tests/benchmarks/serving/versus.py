"""infinity and our servers in turns of seconds: what a bar divides was measured within half a minute."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.serving import processes
from benchmarks.serving.bench import Bench
from benchmarks.serving.load import Asked
from benchmarks.serving.model import MAIN, main_texts, model_repo
from benchmarks.serving.photos import photo_file
from benchmarks.serving.servers import Program, Running, diptych, running
from benchmarks.serving.store import Figures
from benchmarks.serving.turns import ratios, together, turn_s
from benchmarks.serving.windows import raw_photos, raw_texts, window

RIVAL = "infinity"
DECODES = {"fp32": "exact", "int8": "fast"}  # by precision: the server of ours that is held against it
CLIENTS = (1, 32)
KINDS = ("image", "text")
TURNS = 2


def our_server(bench: Bench, precision: str) -> str:
    """The name of ours in this precision, in another decode mode where its own is not asked for."""
    return f"diptych {precision} {_decode(bench, precision)}"


def asked(number: int, kind: str, clients: int) -> dict[str, Any]:
    """The parameters of one comparison."""
    return {"part": "versus", "round": number, "kind": kind, "clients": clients}


def is_missing(bench: Bench, number: int) -> bool:
    """Whether anything of this round is left to do."""
    return not all(bench.has(**asked(number, kind, n)) for kind in KINDS for n in CLIENTS)


def take_turns_with(bench: Bench, rival: Running, kinds: Sequence[Asked], number: int) -> None:
    """All kinds, `rival`'s own requests given; the figures of the rival are its windows of these clients."""
    ours = {"image": raw_photos(photo_file()), "text": raw_texts(main_texts()[0])}
    with ExitStack() as stack:
        servers = [stack.enter_context(running(_program(bench, one))) for one in bench.precisions]
        for theirs in kinds:
            for clients in CLIENTS:
                bench.measure(
                    lambda theirs=theirs, clients=clients: _turns(
                        bench, [(one, ours[theirs.name]) for one in servers], (rival, theirs), clients
                    ),
                    **asked(number, theirs.name, clients),
                )


def _turns(
    bench: Bench, ours: Sequence[tuple[Running, Asked]], theirs: tuple[Running, Asked], clients: int
) -> Figures:
    """The rival between ours, so that it is next to each of them."""
    order = [*ours[:1], theirs, *ours[1:]]
    found: dict[str, list[Figures]] = {server.name: [] for server, _ in order}
    waiting = list[float]()
    for _ in range(TURNS):
        for server, kind in order:
            others = [one for one, _ in order if one is not server]
            began, before = time.perf_counter(), _cpu_s(others)
            found[server.name].append(window(bench, server, [kind], clients, turn_s(bench.seconds)))
            waiting.append((_cpu_s(others) - before) / (time.perf_counter() - began))
    rival = found.pop(theirs[0].name)
    return {
        "rival": together(rival),
        "per_s": {name: ratios(windows, rival, "per_s") for name, windows in found.items()},
        "p50_ms": {name: ratios(windows, rival, "p50_ms") for name, windows in found.items()},
        "waiting_cpu": max(waiting),
    }


def _cpu_s(servers: Sequence[Running]) -> float:
    return sum(processes.cpu_seconds(server.pid) for server in servers)


def _program(bench: Bench, precision: str) -> Program:
    decode = _decode(bench, precision)
    return diptych(model_repo(), MAIN, "--allow-ungated", precision=precision, decode=decode)


def _decode(bench: Bench, precision: str) -> str:
    wanted = DECODES.get(precision, "exact")
    return wanted if wanted in bench.decodes else bench.decodes[0]
