"""Time execution layouts (workers, threads, batch size) of one precision on its golden items."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, process_time
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings, InputIds, Pixels
from diptych.core.tuning.execution_layout import (
    BATCH_SIZES,
    GPU_BATCH_SIZES,
    ExecutionLayout,
    best_layout,
    cpu_layouts,
    gpu_layouts,
)
from diptych.core.tuning.interleaved import Clock, median_seconds
from diptych.wiring.loading.bundles import LoadedBundle, ServedEncoder

IMAGE_S, TEXT_S = 2.2, 0.7  # time for all layouts together, for the warm-up and again for the timed runs

Items = TypeVar("Items", Pixels, InputIds)
Encode = Callable[[Items], Embeddings]
OpenEncoder = Callable[[int], ServedEncoder]  # opens an encoder with this many threads


def cpu_layout(
    loaded: LoadedBundle, open_encoder: OpenEncoder, *, n_threads: int, n_workers: int, batch_size: int
) -> ExecutionLayout:
    """Return the fastest layout for images. 0 for `n_workers` or `batch_size` leaves it to the measurement.

    Layouts are compared by processor time, which other processes disturb less than wall time. It includes the
    time that threads wait for each other, since they spin.
    """
    layouts = cpu_layouts(n_threads, batch_size, n_workers=n_workers)
    encoders = {one.n_workers: open_encoder(one.n_threads).encode_image for one in layouts}
    pixels = loaded.bundle.golden.pixels
    if not batch_size:
        most = max(layouts, key=lambda one: one.n_workers)
        item_s = _item_seconds(encoders[most.n_workers], pixels[:1], process_time) / most.n_threads
        batch_size = next((size for size in BATCH_SIZES if 2 * size * item_s <= IMAGE_S), BATCH_SIZES[-1])
        layouts = cpu_layouts(n_threads, batch_size, n_workers=n_workers)
    return _fastest(layouts, encoders, pixels, IMAGE_S, process_time)


def gpu_batch_sizes(loaded: LoadedBundle) -> tuple[int, int]:
    """Return the fastest batch sizes of images and of texts."""
    golden, encoder = loaded.bundle.golden, loaded.encoder
    return (
        _gpu_batch_size(encoder.encode_image, golden.pixels, IMAGE_S),
        _gpu_batch_size(encoder.encode_text, golden.input_ids, TEXT_S),
    )


def _gpu_batch_size(encode: Encode[Items], items: Items, budget_s: float) -> int:
    smallest = _repeated(items, min(GPU_BATCH_SIZES))  # hardly slower than one item on a GPU
    item_s = _item_seconds(encode, smallest, perf_counter)
    layouts = gpu_layouts(max(len(smallest), int(budget_s / 2 / item_s)))
    return _fastest(layouts, {1: encode}, items, budget_s, perf_counter).batch_size


def _item_seconds(encode: Encode[Items], items: Items, cost: Clock) -> float:
    """Return the seconds per item when `items` are one batch."""
    (seconds,) = median_seconds([items.shape], lambda _: encode(items), 0.0, cost=cost).values()
    return max(seconds, 1e-6) / len(items)


def _fastest(
    layouts: Sequence[ExecutionLayout],
    encoders: Mapping[int, Encode[Items]],
    items: Items,
    budget_s: float,
    cost: Clock,
) -> ExecutionLayout:
    """Return the fastest of `layouts`. `encoders` has the encoder to use for each number of workers."""
    if len(layouts) == 1:
        return layouts[0]
    with ThreadPoolExecutor(max(encoders)) as workers:

        def run(layout: ExecutionLayout) -> None:
            batch = _repeated(items, layout.batch_size)
            list(workers.map(encoders[layout.n_workers], [batch] * layout.n_workers))

        return best_layout(median_seconds(layouts, run, budget_s, cost=cost))


def _repeated(items: Items, n_items: int) -> Items:
    """Repeat (N, ...) items up to (`n_items`, ...)."""
    chosen: NDArray[np.intp] = np.arange(n_items) % len(items)
    return items[chosen]
