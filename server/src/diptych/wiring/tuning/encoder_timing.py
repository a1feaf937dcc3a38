"""Time the precisions of a version against each other, or reuse the times of an earlier start.

Times are kept because the precision is chosen by them: if they were measured again for each new data folder,
the folders of one machine could get different precisions.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from time import perf_counter, process_time
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diptych.adapters.files.plan_file import PlanFile
from diptych.adapters.onnxruntime.processor import machine, n_cpus
from diptych.bundle.encoder import InputIds, Pixels
from diptych.bundle.manifest import identity
from diptych.core.tuning.interleaved import Clock, median_seconds
from diptych.core.tuning.precision import (
    CPU_PROVIDER,
    OPENVINO_PROVIDER,
    EncoderTiming,
    runs_on_cpu,
    unfit,
)
from diptych.wiring.loading.bundles import BF16, ServedEncoder, VerifiedBundle

LOG = logging.getLogger("diptych.precision")
METHOD = 2  # incremented when the method of timing changes: older times are then discarded
ROUND_S = 0.25  # time for one batch of every precision, roughly: slow encoders get small batches
TOWER_S = 1.0
MAX_ROUNDS = 20
MAX_BATCH_SIZE = 16

Items = TypeVar("Items", Pixels, InputIds)


def encoder_timings(
    bundle: VerifiedBundle,
    encoders: Mapping[str, ServedEncoder],
    *,
    n_threads: int,
    plan_file: PlanFile | None,
) -> dict[str, EncoderTiming]:
    """Return the timing of each precision, measured once for each identity, machine and choice of settings.

    Without `plan_file` it is measured each time.
    """
    runs_on = {name: (one.provider, one.device_name) for name, one in encoders.items()}
    key = _key(bundle, runs_on, n_threads)
    known = None if plan_file is None else plan_file.get(key, dict[str, EncoderTiming])
    if known is not None:
        LOG.info("times of precisions are from an earlier start")
        return known
    golden = bundle.golden
    images = {name: encoder.encode_image for name, encoder in encoders.items()}
    texts = {name: encoder.encode_text for name, encoder in encoders.items()}
    cost = _clock(encoders, n_threads)
    image_ms = item_ms(images, golden.pixels, cost)
    text_ms = item_ms(texts, golden.input_ids, cost)
    timings = {name: EncoderTiming(image_ms[name], text_ms[name]) for name in encoders}
    if plan_file is not None:
        plan_file.put(key, timings)
    return timings


def known_cpu_timings(
    bundle: VerifiedBundle, *, n_threads: int, plan_file: PlanFile
) -> dict[str, EncoderTiming]:
    """Return the timings of an earlier start that compared all precisions for a CPU; empty without one."""
    names = [name for name in bundle.manifest.served_precisions if unfit(name, CPU_PROVIDER) is None]
    runs_on = {name: (OPENVINO_PROVIDER if name == BF16 else CPU_PROVIDER, None) for name in names}
    return plan_file.known(_key(bundle, runs_on, n_threads), dict[str, EncoderTiming]) or {}


def item_ms(encoders: Mapping[str, Callable[[Items], object]], items: Items, cost: Clock) -> dict[str, float]:
    """Return the milliseconds that each encoder takes for one of `items` (N, ...), in batches of one size."""
    alone_s = median_seconds(list(encoders), lambda name: encoders[name](items[:1]), 0.0, cost=cost)
    size = min(max(int(ROUND_S / max(sum(alone_s.values()), 1e-6)), 1), MAX_BATCH_SIZE)
    chosen: NDArray[np.intp] = np.arange(size) % len(items)
    batch = items[chosen]
    seconds = median_seconds(
        list(encoders), lambda name: encoders[name](batch), TOWER_S, max_rounds=MAX_ROUNDS, cost=cost
    )
    return {name: 1000 * taken / size for name, taken in seconds.items()}


def _clock(encoders: Mapping[str, ServedEncoder], n_threads: int) -> Clock:
    """Return the clock: on a CPU processor time per thread, which other processes hardly disturb."""
    if not all(runs_on_cpu(one.provider) for one in encoders.values()):
        return perf_counter
    n_cores = n_threads or n_cpus()
    return lambda: process_time() / n_cores


def _key(bundle: VerifiedBundle, runs_on: Mapping[str, tuple[str, str | None]], n_threads: int) -> str:
    """`runs_on` has the provider of each precision, and the name of its GPU."""
    parts = (
        METHOD,
        [(name, identity(bundle.manifest, name, "exact"), *where) for name, where in runs_on.items()],
        machine(n_threads),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()
