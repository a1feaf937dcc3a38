"""Make what is sent, say what it is, and weigh the load generator itself."""

import sys

from benchmarks.serving.bench import Bench
from benchmarks.serving.load import Asked, Task
from benchmarks.serving.measures import median
from benchmarks.serving.model import MAIN, bundle_facts, main_texts
from benchmarks.serving.photos import photo_file, photos
from benchmarks.serving.servers import PORT, Program, running
from benchmarks.serving.store import Figures
from benchmarks.serving.texts import histogram
from benchmarks.serving.windows import raw_photos, run_load
from support.child_python import python_path

NOTHING = Program(
    "nothing",
    (sys.executable, "-m", "benchmarks.serving.nothing", PORT),
    "/",
    {"PYTHONPATH": python_path()},
)
CLIENTS, MAX_S = 8, 3.0


def prepare(bench: Bench, number: int) -> None:
    """Model, photographs and texts; then what a request costs the one who sends it. Once for all rounds."""
    if number:
        return
    bench.measure(lambda: bundle_facts(MAIN), part="bundle")
    sizes = [len(photo) for photo in photos()]
    bench.say(f"{len(sizes)} photographs of 640 x 480, median {median(sizes) / 1000:.0f} kB")
    _, lengths = main_texts()
    bench.measure(lambda: {"median": median(lengths), "lengths": lengths}, part="texts")
    bench.say(f"{len(lengths)} texts, tokens of each:\n{histogram(lengths)}")
    bench.measure(lambda: _own_cost(bench, raw_photos(photo_file())), part="generator")


def _own_cost(bench: Bench, kind: Asked) -> Figures:
    """Against a server that does nothing."""
    with running(NOTHING) as server:
        task = Task(server.port, server.pid, CLIENTS, min(bench.seconds, MAX_S), 0.2, [kind])
        found = run_load(task)
    return {"us_per_request": 1e6 * found["client_cpu"] / found["per_s"], "per_s": found["per_s"]}
