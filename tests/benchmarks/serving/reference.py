"""The same work in one process without HTTP: decode threads feed batches to encoders; a worker."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.serving.load import read_bodies
from benchmarks.serving.measures import Span, rate
from benchmarks.serving.sharing import n_cpus
from benchmarks.serving.store import Figures
from benchmarks.serving.workers import answer
from diptych.adapters.onnx_encoder import OnnxEncoder
from diptych.adapters.shared_work import sharing
from diptych.bundle import image
from diptych.bundle.image import DecodeMode
from diptych.bundle.manifest import read_manifest
from diptych.core.types import Embeddings, Pixels

LIMITS = image.ImageLimits(max_bytes=20_000_000, max_px=50_000_000)
Decode = Callable[[bytes], Pixels]


class Encoder(Protocol):
    """What is timed."""

    def encode_image(self, pixels: Pixels, /) -> Embeddings: ...


@dataclass(frozen=True)
class Cell:
    """One way to share the cores."""

    batch: int
    lanes: int  # batches side by side
    encoder_threads: int  # of each lane
    decode_threads: int


def measure(
    folder: str, precision: str, decode: DecodeMode, photos: str, seconds: float, cells: list[dict[str, int]]
) -> list[Figures]:
    """Images a second of each cell, all with the same `encoder_threads`; of none: one image at a time."""
    n_threads = cells[0]["encoder_threads"] if cells else n_cpus()
    encoder = load(Path(folder), precision, n_threads)
    if not cells:
        decode_alone = decoder_of(Path(folder), decode, n_threads)
        return [one_at_a_time(encoder, decode_alone, supply_of(Path(photos)), seconds)]
    decode_one, payloads = decoder_of(Path(folder), decode), read_bodies(Path(photos))
    return [overlapped(encoder, decode_one, Cell(**cell), payloads, seconds) for cell in cells]


def overlapped(
    encoder: Encoder, decode: Decode, cell: Cell, payloads: Sequence[bytes], seconds: float
) -> Figures:
    """Encode batches for so long, while the next ones are decoded.

    Lanes end in bursts, so that a batch at an edge counts by the part of it that is inside, as a request to
    a server does. All that began inside is seen to its end with as much beside it as ever.
    """
    supply = cycle(payloads)
    with ThreadPoolExecutor(cell.decode_threads) as pool, ThreadPoolExecutor(cell.lanes) as lanes:
        running: deque[Future[Span]] = deque()
        waiting: deque[Future[Pixels]] = deque()

        def refill() -> None:
            while len(waiting) < 2 * cell.batch + cell.decode_threads:
                waiting.append(pool.submit(decode, next(supply)))

        def encode(pixels: Pixels) -> Span:
            began = time.perf_counter()
            encoder.encode_image(pixels)
            return Span(began, time.perf_counter())

        def start_one() -> None:
            refill()
            pixels = [waiting.popleft().result() for _ in range(cell.batch)]
            refill()
            running.append(lanes.submit(encode, np.stack(pixels)))

        def one_batch() -> Span:
            while len(running) <= cell.lanes:  # one more than run: no lane waits for this thread
                start_one()
            return running.popleft().result()

        spans = [one_batch() for _ in range(cell.lanes + 1)]
        cpu, begin = time.process_time(), time.perf_counter()
        while time.perf_counter() < begin + seconds:
            spans.append(one_batch())
        cpu, wall = time.process_time() - cpu, time.perf_counter() - begin
        while spans[-1].start < begin + seconds:  # batches start in this order: none inside is missed
            spans.append(one_batch())
        for future in (*waiting, *running):
            future.cancel()
    return {
        **asdict(cell),
        "per_s": cell.batch * rate(spans, begin, begin + seconds),
        "cpu": cpu / wall,
    }


def one_at_a_time(encoder: OnnxEncoder, decode: Decode, supply: Iterator[bytes], seconds: float) -> Figures:
    """Milliseconds from the bytes of one image to its embedding, nothing overlapped."""
    taken = list[float]()

    def one() -> float:
        began = time.perf_counter()
        encoder.encode_image(decode(next(supply))[None])
        return time.perf_counter() - began

    for _ in range(3):
        one()
    cpu, began = time.process_time(), time.perf_counter()
    while time.perf_counter() < began + seconds:
        taken.append(1000 * one())
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"ms": taken, "cpu": cpu / wall}


@cache
def supply_of(photos: Path) -> Iterator[bytes]:
    """The photographs for ever: each window of a process goes on where the last one stopped."""
    return cycle(read_bodies(photos))


@cache
def load(folder: Path, precision: str, n_threads: int) -> OnnxEncoder:
    """As the server loads it, once for all windows of a process."""
    files = read_manifest(folder).precisions[precision]
    return OnnxEncoder(folder / files.image_file, folder / files.text_file, n_threads=n_threads)


def decoder_of(folder: Path, mode: DecodeMode, n_sharing: int = 1) -> Decode:
    """The function that the server decodes with; `n_sharing` threads resize one, as for a single client."""
    spec, shared = read_manifest(folder).image, sharing(n_sharing)
    return lambda payload: image.load_pixels(payload, spec, LIMITS, mode=mode, sharing=shared)


if __name__ == "__main__":
    answer(measure)
