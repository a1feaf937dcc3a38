"""Where the time of a server goes while it is under load: its stages, and who had the processor."""

import http.client
import re
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.serving import processes
from benchmarks.serving.servers import Running
from benchmarks.serving.store import Figures

STAGES = ("parse", "decode", "queue", "encode", "serialise")
_STAGE = re.compile(r'^diptych_stage_seconds_sum\{stage="(\w+)"\} (\S+)$', re.MULTILINE)
_PICTURES = re.compile(r'^diptych_batch_size_sum\{encoder="image"\} (\S+)$', re.MULTILINE)
_BATCHES = re.compile(r'^diptych_batch_size_count\{encoder="image"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class _Reading:
    """Sums since the server began."""

    stages_s: dict[str, float]
    n_pictures: float
    n_batches: float
    loop_s: float  # processor time of the thread that runs the event loop
    all_s: float


def profiled(server: Running, load: Callable[[], Figures]) -> Figures:
    """The figures of `load` and, for each picture of it, milliseconds by stage and by processor."""
    before = _read(server)
    figures = load()
    after = _read(server)
    n_pictures = after.n_pictures - before.n_pictures

    def each(now: float, then: float) -> float:
        return 1000 * (now - then) / n_pictures

    return figures | {
        "stage_ms": {
            name: each(after.stages_s.get(name, 0), before.stages_s.get(name, 0)) for name in STAGES
        },
        "loop_ms": each(after.loop_s, before.loop_s),
        "threads_ms": each(after.all_s - after.loop_s, before.all_s - before.loop_s),
        "batch": n_pictures / (after.n_batches - before.n_batches),
    }


def _read(server: Running) -> _Reading:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return _Reading(
        {name: float(value) for name, value in _STAGE.findall(text)},
        float(_PICTURES.findall(text)[0]),
        float(_BATCHES.findall(text)[0]),
        processes.first_thread_seconds(server.pid),
        processes.cpu_seconds(server.pid),
    )
