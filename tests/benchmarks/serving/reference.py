"""The same work in one process without HTTP: decode threads feed batches to encoders; a worker."""

import inspect
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks.serving.load import read_bodies
from benchmarks.serving.measures import percentile
from benchmarks.serving.store import Figures
from benchmarks.serving.workers import answer
from diptych.adapters.onnx_encoder import OnnxEncoder
from diptych.bundle import image
from diptych.bundle.manifest import read_manifest
from diptych.core.types import Embeddings, Pixels

LIMITS = image.ImageLimits(max_bytes=20_000_000, max_px=50_000_000)
Decode = Callable[[bytes], Pixels]


@dataclass(frozen=True)
class Cell:
    """One way to share the cores."""

    batch: int
    lanes: int  # batches side by side
    encoder_threads: int  # of each lane
    decode_threads: int


def measure(
    folder: str, precision: str, decode: str, photos: str, seconds: float, cells: list[dict[str, int]]
) -> list[Figures]:
    """Images a second of each cell, all with the same `encoder_threads`; of none: one image at a time."""
    n_threads = cells[0]["encoder_threads"] if cells else len(os.sched_getaffinity(0))
    encoder, decode_one = load(Path(folder), precision, n_threads), decoder_of(Path(folder), decode)
    payloads = read_bodies(Path(photos))
    if not cells:
        return [one_at_a_time(encoder, decode_one, payloads, seconds)]
    return [overlapped(encoder, decode_one, Cell(**cell), payloads, seconds) for cell in cells]


def overlapped(
    encoder: OnnxEncoder, decode: Decode, cell: Cell, payloads: Sequence[bytes], seconds: float
) -> Figures:
    """Encode batches for so long, while the next ones are decoded."""
    supply = cycle(payloads)
    with ThreadPoolExecutor(cell.decode_threads) as pool, ThreadPoolExecutor(cell.lanes) as lanes:
        running: deque[Future[Embeddings]] = deque()
        waiting: deque[Future[Pixels]] = deque()

        def refill() -> None:
            while len(waiting) < 2 * cell.batch + cell.decode_threads:
                waiting.append(pool.submit(decode, next(supply)))

        def start_one() -> None:
            refill()
            pixels = [waiting.popleft().result() for _ in range(cell.batch)]
            refill()
            running.append(lanes.submit(encoder.encode_image, np.stack(pixels)))

        def one_batch() -> int:
            while len(running) <= cell.lanes:  # one more than run: no lane waits for this thread
                start_one()
            running.popleft().result()
            return cell.batch

        for _ in range(cell.lanes + 1):
            one_batch()
        cpu, began, n_images = time.process_time(), time.perf_counter(), 0
        while time.perf_counter() < began + seconds:
            n_images += one_batch()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        for future in waiting:
            future.cancel()
    return {**asdict(cell), "per_s": n_images / wall, "cpu": cpu / wall}


def one_at_a_time(encoder: OnnxEncoder, decode: Decode, payloads: Sequence[bytes], seconds: float) -> Figures:
    """Milliseconds from the bytes of one image to its embedding, nothing overlapped."""
    supply, taken = cycle(payloads), list[float]()

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
    return {
        "p50_ms": percentile(taken, 0.5),
        "p99_ms": percentile(taken, 0.99),
        "n": len(taken),
        "cpu": cpu / wall,
    }


def load(folder: Path, precision: str, n_threads: int) -> OnnxEncoder:
    """As the server loads it."""
    files = read_manifest(folder).precisions[precision]
    return OnnxEncoder(folder / files.image_file, folder / files.text_file, n_threads=n_threads)


def decoder_of(folder: Path, mode: str) -> Decode:
    """The function that the server decodes with. Raises SystemExit where it knows exact decoding only."""
    spec = read_manifest(folder).image
    if mode == "exact":
        return lambda payload: image.load_pixels(payload, spec, LIMITS)
    if "mode" not in inspect.signature(image.load_pixels).parameters:
        raise SystemExit("diptych.bundle.image.load_pixels knows no `mode`: measure with --decodes exact")
    return lambda payload: image.load_pixels(payload, spec, LIMITS, mode=mode)


if __name__ == "__main__":
    answer(measure)
