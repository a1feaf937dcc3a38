"""Time the encoders of one precision in several ways on its golden items; knows no settings."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.bundle.encoder import Embeddings
from diptych.bundle.image import DecodeMode, ImageLimits, load_pixels
from diptych.core.cores import CoresHad
from diptych.core.plan import (
    BATCH_SIZES,
    ENOUGH,
    GPU_BATCH_SIZES,
    GPU_ENOUGH,
    ItemSeconds,
    Plan,
    Way,
    affordable,
    best_way,
    decode_threads,
    measure_seconds,
    sizes_to_try,
)
from diptych.core.precision import CPU_PROVIDER
from diptych.wiring.bundles import LoadedBundle
from diptych.wiring.encoders import ServedEncoder

IMAGE_S, TEXT_S, DECODE_S = 2.2, 0.7, 0.8  # what measuring each may take
ITEM_S = 0.4  # and of an item by itself, before; a slow one is run once in each number of lanes

RunBatch = Callable[[ServedEncoder, int], Embeddings]  # an encoder and a batch size
Futures = list["Future[Any]"]


class Measurement:
    """`encoders` by the number of lanes that they are made for; one with all threads serves a single lane."""

    def __init__(
        self,
        loaded: LoadedBundle,
        encoders: Mapping[int, ServedEncoder],
        *,
        n_threads: int,
        n_cpus: float,
        decode: DecodeMode,
    ) -> None:
        """`n_threads` encode, all lanes together; a container may have a part of a processor in `n_cpus`."""
        golden = loaded.bundle.golden
        self._on_gpu = loaded.encoder.provider != CPU_PROVIDER
        self._sizes = GPU_BATCH_SIZES if self._on_gpu else BATCH_SIZES
        self._pixels = _repeated(golden.pixels, max(self._sizes))
        self._input_ids = _repeated(golden.input_ids, max(self._sizes))
        self._spec = loaded.bundle.manifest.image
        self._encoders = encoders
        self._n_cpus = math.ceil(n_cpus)
        self._n_cores = min(n_cpus, n_threads)  # that encode
        self._had = CoresHad(self._n_cores, cpu=process_time, wall=perf_counter)
        self._decode: DecodeMode = decode
        self._photograph = self._made_photograph()
        # Processor time tells the same as wall time on an idle CPU, and still tells it on a busy one; the
        # time that threads lose by waiting for each other is in it, since they spin while a batch runs.
        self._cost = perf_counter if self._on_gpu else process_time

    @property
    def was_alone(self) -> bool:
        """Whether the cores were this process's own, which a GPU does not ask for."""
        return self._on_gpu or self._had.were_ours

    def plan(self, given: Mapping[str, int]) -> Plan:
        """The fields of a plan that `given` leaves at 0, measured."""
        batch_size = given["image_batch_size"]
        sizes = [batch_size] if batch_size else []
        with ThreadPoolExecutor(self._n_cpus) as decoders:

            def beside(n_items: int) -> Futures:
                """In service the next pictures are decoded while a batch runs: threads wait for more then.

                A GPU waits for nobody, and decoding as much as it encodes would be all that is measured.
                """
                return [decoders.submit(self._decode_one) for _ in range(0 if self._on_gpu else n_items)]

            image = self._best(list(self._encoders), sizes, self._encode_images, IMAGE_S, beside)
        text = self._best([image.n_lanes], sizes, self._encode_texts, TEXT_S)
        n_decode_threads = given["n_decode_threads"] or self._decode_threads(image)
        return Plan(image.n_lanes, image.batch_size, text.batch_size, n_decode_threads)

    def _best(
        self,
        lanes: Sequence[int],
        sizes: Sequence[int],
        run_batch: RunBatch,
        budget_s: float,
        beside: Callable[[int], Futures] = lambda _: [],
    ) -> Way:
        """The best way to run batches, of `sizes` if there are any, while `beside` works on as many items."""
        item_s = self._item_s(lanes, run_batch)
        sizes = sizes or (self._sizes if self._on_gpu else sizes_to_try(item_s, budget_s))
        ways = affordable([Way(n, size) for n in lanes for size in sizes], item_s, budget_s)
        with ThreadPoolExecutor(max(lanes)) as pool:

            def run(way: Way) -> None:
                with self._had.during((run_batch, way)):
                    encoder, work = self._encoders[way.n_lanes], beside(way.n_items)
                    work += [pool.submit(run_batch, encoder, way.batch_size) for _ in range(way.n_lanes)]
                    _all(work)

            seconds = measure_seconds(ways, run, budget_s, cost=self._cost)
        return best_way(seconds, GPU_ENOUGH if self._on_gpu else ENOUGH)

    def _item_s(self, lanes: Sequence[int], run_batch: RunBatch) -> ItemSeconds:
        """What each item adds to batches that have all the cores, or the GPU.

        From processor time, as their cost: by wall time a model would be slow because something else runs.
        """
        n_items = min(self._sizes) if self._on_gpu else 1  # which take a GPU hardly longer than one

        def run(n_lanes: int) -> None:
            run_batch(self._encoders[n_lanes], n_items)

        for n_lanes in lanes:
            run(n_lanes)  # the first call of a shape may prepare for seconds
        taken_s = measure_seconds(lanes, run, ITEM_S, cost=self._cost)
        n_cores = 1 if self._on_gpu else self._n_cores
        return {n_lanes: seconds / n_items / n_cores for n_lanes, seconds in taken_s.items()}

    def _decode_threads(self, way: Way) -> int:
        """One per core, unless half as many leave the encoder so much more that both are done sooner."""
        encoder = self._encoders[way.n_lanes]
        options = sorted({self._n_cpus, max(1, self._n_cpus // 2)}, reverse=True)
        decoders = {n: ThreadPoolExecutor(n) for n in options}
        with ThreadPoolExecutor(way.n_lanes) as lanes:

            def run(n_threads: int) -> None:
                """A batch in each lane, and at the same time as many pictures to decode."""
                work = [decoders[n_threads].submit(self._decode_one) for _ in range(way.n_items)]
                work += [
                    lanes.submit(self._encode_images, encoder, way.batch_size) for _ in range(way.n_lanes)
                ]
                _all(work)

            seconds = measure_seconds(options, run, DECODE_S)
        for pool in decoders.values():
            pool.shutdown()
        return decode_threads(seconds)

    def _decode_one(self) -> object:
        return load_pixels(self._photograph, self._spec, ImageLimits(), self._decode)

    def _made_photograph(self) -> bytes:
        """A JPEG of 3 x 2 times the side of the model's input: a golden picture, enlarged."""
        encoded = io.BytesIO()
        size = (3 * self._spec.size, 2 * self._spec.size)
        Image.fromarray(self._pixels[0]).resize(size).save(encoded, "JPEG", quality=90)
        return encoded.getvalue()

    def _encode_images(self, encoder: ServedEncoder, n_items: int) -> Embeddings:
        return encoder.encode_image(self._pixels[:n_items])

    def _encode_texts(self, encoder: ServedEncoder, n_items: int) -> Embeddings:
        return encoder.encode_text(self._input_ids[:n_items])


def _all(work: Futures) -> None:
    """Wait for every future of it; raises what the first one that failed raised."""
    for future in work:
        future.result()


def _repeated(items: NDArray[Any], n_items: int) -> NDArray[Any]:
    """(N, ...) -> at least (`n_items`, ...): the items over and over."""
    n_items = max(len(items), n_items)
    repeated: NDArray[Any] = np.take(items, np.arange(n_items) % len(items), axis=0)
    return repeated
