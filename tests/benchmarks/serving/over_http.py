"""diptych over HTTP: images and texts by number of clients, each beside its in-process reference."""

from collections.abc import Sequence
from itertools import product

from benchmarks.serving import classify, in_process
from benchmarks.serving.bench import Bench
from benchmarks.serving.load import Asked
from benchmarks.serving.model import MAIN, bundle, main_texts, model_repo
from benchmarks.serving.photos import photo_file
from benchmarks.serving.servers import Program, Running, diptych, running
from benchmarks.serving.store import Parameters
from benchmarks.serving.windows import raw_photos, raw_texts, window

FIRST = 32  # clients: this window follows the in-process reference most closely


def measure_http(bench: Bench, number: int) -> None:
    """Each precision and decode mode in turn."""
    bundle(MAIN)
    for precision, decode in product(bench.precisions, bench.decodes):
        measure_server(bench, precision, decode, number)


def measure_server(bench: Bench, precision: str, decode: str, number: int) -> None:
    """One server in one round; it is not started when all of it was measured."""
    in_process.measure_beside(bench, precision, decode, number)
    program = diptych(model_repo(), MAIN, "--allow-ungated", precision=precision, decode=decode)
    todo = missing(bench, program, number, _windows(bench, decode))
    with_labels = decode == "exact" and classify.is_missing(bench, precision, number)
    if todo or with_labels:
        with running(program) as server:
            measure_windows(bench, server, number, todo)
            if with_labels:
                classify.measure(bench, server, precision, number)


def in_order(clients: Sequence[int]) -> list[int]:
    """`FIRST` first, if it is among them."""
    return sorted(clients, key=lambda n: (n != FIRST, n))


def missing(
    bench: Bench, program: Program, number: int, windows: Sequence[tuple[Asked, int]]
) -> list[tuple[Asked, int]]:
    """Those of (kind, clients) that were not measured in this round."""
    return [one for one in windows if not bench.has(**_asked(program.name, number, *one))]


def measure_windows(bench: Bench, server: Running, number: int, windows: Sequence[tuple[Asked, int]]) -> None:
    """One after the other against a server that runs."""
    for kind, clients in windows:
        bench.measure(
            lambda kind=kind, clients=clients: window(bench, server, [kind], clients),
            **_asked(server.name, number, kind, clients),
        )


def _windows(bench: Bench, decode: str) -> list[tuple[Asked, int]]:
    """Texts do not depend on how images are decoded."""
    image, found = raw_photos(photo_file()), list[tuple[Asked, int]]()
    found += [(image, n) for n in in_order(bench.clients)]
    if decode == "exact":
        text = raw_texts(main_texts()[0])
        found += [(text, n) for n in bench.text_clients]
    return found


def _asked(server: str, number: int, kind: Asked, clients: int) -> Parameters:
    return {"part": "http", "server": server, "round": number, "kind": kind.name, "clients": clients}
