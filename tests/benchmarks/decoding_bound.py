"""What images/s decoding allows where the encoder costs nothing, as beside a fast GPU.

    PYTHONPATH=tests python tests/benchmarks/decoding_bound.py [--seconds 3] [--clients 64]

The server's own decoder, queue and batches in one process, without HTTP; the encoder answers at once. By
number of decoding threads: images/s beside the same decoding without any server, and what batches come to,
which nothing but what has arrived limits. Files are JPEGs of 640 x 480, pictures of the gallery under grain.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks.gpu_check.pictures import photographs
from diptych.adapters.pillow_decoder import PillowDecoder
from diptych.adapters.plan_file import n_cpus
from diptych.adapters.prometheus_metrics import PrometheusMetrics
from diptych.bundle.image import ImageLimits, load_pixels, silence_decoders
from diptych.bundle.manifest import ImageSpec
from diptych.core.admission import Admission
from diptych.core.batcher import Batcher
from diptych.core.embedder import Embedder, image_batch
from diptych.core.plan import GPU_BATCH_SIZES

EMBED_DIM, N_PHOTOGRAPHS = 512, 64
ROOM = 4096  # items: nobody is refused
SPEC = ImageSpec(
    size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic", resize_mode="shortest",
    crop="round", alpha="white",
)  # fmt: skip


@dataclass
class FreeEncoder:
    """Costs nothing, and counts the sizes of its batches."""

    batches: Counter[int]

    def encode_image(self, pixels: Any, on_start: Any = None) -> Any:
        """(B, S, S, 3) -> (B, D), the same row for all."""
        self.batches[len(pixels)] += 1
        return np.tile(np.eye(1, EMBED_DIM, dtype=np.float32), (len(pixels), 1))

    def encode_text(self, input_ids: Any, on_start: Any = None) -> Any:
        """Never asked."""
        raise AssertionError


def bare_per_s(payloads: Sequence[bytes], n_threads: int, seconds: float) -> float:
    """Images/s of the same decoding in so many threads and nothing else."""
    supply, until = cycle(payloads), time.perf_counter() + seconds

    def work(_: int) -> int:
        n = 0
        while time.perf_counter() < until:
            load_pixels(next(supply), SPEC, ImageLimits(), "exact")
            n += 1
        return n

    with ThreadPoolExecutor(n_threads) as threads:
        return sum(threads.map(work, range(n_threads))) / seconds


async def served_per_s(
    payloads: Sequence[bytes], n_threads: int, seconds: float, clients: int
) -> tuple[float, Counter[int]]:
    """Images/s through decoder, queue and batches, and how often there was a batch of each size."""
    encoder, metrics = FreeEncoder(Counter()), PrometheusMetrics()
    batcher = Batcher(
        "image", image_batch(encoder), n_bytes=lambda item: int(item.nbytes), admission=_room(),
        max_batch_size=max(GPU_BATCH_SIZES), embed_dim=EMBED_DIM, timeout_s=60.0, metrics=metrics,
        on_stuck=print,
    )  # fmt: skip
    unused: Any = None
    embedder = Embedder(
        decoder=PillowDecoder(SPEC, ImageLimits(), n_threads=n_threads), tokenizer=unused, images=batcher,
        texts=batcher, image_admission=_room(), text_admission=_room(), metrics=metrics,
    )  # fmt: skip
    supply, began, n_done = cycle(payloads), time.perf_counter(), 0

    async def client() -> None:
        nonlocal n_done
        while time.perf_counter() < began + seconds:
            await embedder.embed_image(next(supply))
            n_done += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    took = time.perf_counter() - began
    await batcher.close()
    return n_done / took, encoder.batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each window (default 3)")
    parser.add_argument("--clients", type=int, default=64, help="that ask at a time (default 64)")
    args = parser.parse_args()
    silence_decoders()
    payloads, cores = photographs(N_PHOTOGRAPHS), n_cpus()
    print("| decoding threads | images/s | of decoding alone | mean batch | largest | cores used |")
    print("|---:|---:|---:|---:|---:|---:|")
    for n_threads in sorted({1, max(1, cores // 2), cores}):
        alone = bare_per_s(payloads, n_threads, args.seconds)
        cpu, began = time.process_time(), time.perf_counter()
        rate, batches = asyncio.run(served_per_s(payloads, n_threads, args.seconds, args.clients))
        used = (time.process_time() - cpu) / (time.perf_counter() - began)
        mean = batches.total() and sum(size * n for size, n in batches.items()) / batches.total()
        cells = [
            f"{n_threads}",
            f"{rate:.0f}",
            f"{rate / alone:.2f}",
            f"{mean:.1f}",
            f"{max(batches)}",
            f"{used:.2f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def _room() -> Admission:
    return Admission(max_items=ROOM, max_bytes=10**10)


if __name__ == "__main__":
    main()
