"""diptych over HTTP: images and texts by number of clients, in turns with the same work in one process."""

from collections.abc import Sequence
from itertools import product

from benchmarks.serving import classify, in_process
from benchmarks.serving.bench import Bench
from benchmarks.serving.load import Asked
from benchmarks.serving.model import MAIN, bundle, main_texts, model_repo
from benchmarks.serving.photos import photo_file
from benchmarks.serving.servers import Program, Running, diptych, running, way_of
from benchmarks.serving.store import Parameters
from benchmarks.serving.turns import MANY, take_turns
from benchmarks.serving.windows import raw_photos, raw_texts, window


def measure_http(bench: Bench, number: int) -> None:
    """Each precision and decode mode in turn."""
    bundle(MAIN)
    if not number:
        _measure_as_started(bench)
    for precision, decode in product(bench.precisions, bench.decodes):
        measure_server(bench, precision, decode, number)


def _measure_as_started(bench: Bench) -> None:
    """The server with nothing set: it chooses its precision, and may keep another one for collections."""
    asked = {"part": "as started"}
    if bench.has(**asked):
        return
    with running(diptych(model_repo(), MAIN, "--allow-ungated", precision="auto")) as server:
        kind = raw_photos(photo_file())
        bench.measure(lambda: window(bench, server, [kind], MANY) | way_of(server), **asked)


def measure_server(bench: Bench, precision: str, decode: str, number: int) -> None:
    """One server in one round; it is not started when all of it was measured."""
    program = diptych(model_repo(), MAIN, "--allow-ungated", precision=precision, decode=decode)
    todo = missing(bench, program, number, _windows(bench, decode))
    with_labels = decode == "exact" and classify.is_missing(bench, precision, number)
    if todo or with_labels:
        in_process.grid(bench, precision, decode)
        with running(program) as server:
            bench.measure(lambda: way_of(server), part="plan", server=server.name, round=number)
            _measure_turns(bench, server, precision, decode, number)
            measure_windows(bench, server, number, todo)
            if with_labels:
                classify.measure(bench, server, precision, number)


def _measure_turns(bench: Bench, server: Running, precision: str, decode: str, number: int) -> None:
    """What the server did in the turns is also its window at as many clients."""
    kind = raw_photos(photo_file())
    found = take_turns(bench, server, kind, precision, decode, number)
    for clients, figures in found["http"].items():
        bench.measure(lambda figures=figures: figures, **asked_of(server.name, number, kind, int(clients)))


def missing(
    bench: Bench, program: Program, number: int, windows: Sequence[tuple[Asked, int]]
) -> list[tuple[Asked, int]]:
    """Those of (kind, clients) that were not measured in this round."""
    return [one for one in windows if not bench.has(**asked_of(program.name, number, *one))]


def measure_windows(bench: Bench, server: Running, number: int, windows: Sequence[tuple[Asked, int]]) -> None:
    """One after the other against a server that runs."""
    for kind, clients in windows:
        bench.measure(
            lambda kind=kind, clients=clients: window(bench, server, [kind], clients),
            **asked_of(server.name, number, kind, clients),
        )


def _windows(bench: Bench, decode: str) -> list[tuple[Asked, int]]:
    """Texts do not depend on how images are decoded."""
    image, found = raw_photos(photo_file()), list[tuple[Asked, int]]()
    found += [(image, n) for n in bench.clients]
    if decode == "exact":
        text = raw_texts(main_texts()[0])
        found += [(text, n) for n in bench.text_clients]
    return found


def asked_of(server: str, number: int, kind: Asked, clients: int) -> Parameters:
    """The parameters of one window."""
    return {"part": "http", "server": server, "round": number, "kind": kind.name, "clients": clients}
