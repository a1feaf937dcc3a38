"""Take one window of load against a running server, by the generator in its own process."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.serving.bench import Bench
from benchmarks.serving.http_message import OCTETS
from benchmarks.serving.load import Asked, Task, write_bodies
from benchmarks.serving.places import in_cache
from benchmarks.serving.servers import Running
from benchmarks.serving.store import Figures
from benchmarks.serving.workers import Ask, ask


def bodies_file(name: str, bodies: Sequence[bytes]) -> str:
    """Bodies of requests on the disk, written anew: the generator reads them from there."""
    file = in_cache("bodies", f"{name}.bin")
    write_bodies(file, bodies)
    return str(file)


def raw_photos(file: Path) -> Asked:
    """`/embed` with a JPEG as the whole body, answered by raw float32."""
    return Asked("image", "/embed", str(file), "image/jpeg", OCTETS)


def raw_texts(texts: Sequence[str]) -> Asked:
    """`/embed` with a text as the whole body, answered by raw float32."""
    bodies = bodies_file("texts", [text.encode() for text in texts])
    return Asked("text", "/embed", bodies, "text/plain", OCTETS)


def window(
    bench: Bench, server: Running, kinds: Sequence[Asked], clients: int, seconds: float | None = None
) -> Figures:
    """Figures of one window; latencies of a single kind stand at the top, those of several by kind."""
    length = bench.seconds if seconds is None else seconds
    return _told(server, kinds, run_load(_task(server, kinds, clients, length, bench.warm_s)))


def short_window(
    load: Ask, server: Running, kind: Asked, clients: int, seconds: float, warm_s: float
) -> Figures:
    """The same of one kind by a generator that is kept for the next one, with the `ms` of every request."""
    return _told(server, [kind], load(**asdict(_task(server, [kind], clients, seconds, warm_s))))


def run_load(task: Task) -> Figures:
    """Raises SystemExit with what the server answered, when that was an error."""
    figures: Figures = ask("load", **asdict(task))
    del figures["ms"]
    return figures


def _task(server: Running, kinds: Sequence[Asked], clients: int, seconds: float, warm_s: float) -> Task:
    return Task(server.port, server.pid, clients, seconds, warm_s, list(kinds))


def _told(server: Running, kinds: Sequence[Asked], figures: Figures) -> Figures:
    if len(kinds) == 1:
        figures |= figures.pop("latency")[kinds[0].name]
        figures["n_least"] = figures["n"]
    return figures | {"loaded_mb": server.loaded.resident / 1e6, "load_s": server.load_s}
