"""Choose how a loaded precision runs on this machine, or reuse the plan of an earlier start.

A plan is measured once for each version, precision, machine and choice of settings.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from time import perf_counter

from diptych.adapters.files.plan_file import PlanFile
from diptych.adapters.onnxruntime.processor import machine, n_cpus
from diptych.core.tuning.execution_layout import Plan
from diptych.core.tuning.precision import CPU_PROVIDER, runs_on_cpu
from diptych.settings import Settings
from diptych.wiring.loading.bundles import LoadedBundle, ServedEncoder, load_precision
from diptych.wiring.tuning.measuring import cpu_layout, gpu_batch_sizes

LOG = logging.getLogger("diptych.plan")
PLAN_FILE = "plans.json"  # in the data folder
PHOTOGRAPH_PX = 12_500_000  # pixels of a photograph by a phone
# Threads that resize one image. Decoding in one thread takes as long as resizing in four.
MAX_RESIZE_THREADS = 4
METHOD = 6  # incremented when the method of measuring changes: older plans are then discarded


def plan_file_of(settings: Settings, before_measuring: Callable[[], None] = lambda: None) -> PlanFile:
    """Return the file in the data folder that keeps measurements."""
    return PlanFile(settings.data_dir / PLAN_FILE, before_measuring, read_only=settings.data_dir_is_read_only)


def with_plan(
    loaded: LoadedBundle,
    settings: Settings,
    fallback: Plan | None = None,
    plan_file: PlanFile | None = None,
) -> LoadedBundle:
    """Return the precision with its plan and, for several workers, with an encoder for parallel batches.

    While requests run nothing can be measured. Pass `fallback` then, the plan of another version or
    precision: it is used where no earlier start has measured one.
    """
    n_workers = settings.n_lanes if _can_run_parallel(loaded, settings) else 1
    if n_workers and settings.max_batch_size:
        plan = _plan(settings, n_workers, settings.max_batch_size, settings.max_batch_size)
        return _with_encoder(loaded, settings, plan, "set")
    plans, key = plan_file or plan_file_of(settings), _key(settings, loaded, n_workers)
    known = plans.get(key, Plan)
    if known is not None:
        return _with_encoder(loaded, settings, known, "from an earlier start")
    if fallback is not None:
        plan = fallback if n_workers != 1 else replace(fallback, n_lanes=1)
        return _with_encoder(loaded, settings, plan, "taken from what serves, until the next start")
    began, encoders = perf_counter(), {threads_of(settings): loaded.encoder}
    plan = _measured(loaded, settings, n_workers, encoders)
    plans.put(key, plan)
    how = f"measured in {perf_counter() - began:.1f} s"
    return _with_encoder(loaded, settings, plan, how, encoders)


def threads_of(settings: Settings) -> int:
    """Return the number of threads that encode, of all workers together, and of those that decode images."""
    return settings.n_threads or n_cpus()


def max_decoded_px(settings: Settings, plan: Plan, provider: str) -> int:
    """Return how many pixels all images that are being decoded may have together.

    On a CPU as many as one image may have, so that many threads need no more memory than one. A GPU needs
    every decoder busy, so there the limit is one photograph per thread, if larger.
    """
    if runs_on_cpu(provider):
        return settings.max_image_px
    return max(settings.max_image_px, PHOTOGRAPH_PX * plan.n_decode_threads)


def resize_threads(settings: Settings) -> int:
    """Return how many threads resize an image that comes alone."""
    return min(MAX_RESIZE_THREADS, threads_of(settings))


def _measured(
    loaded: LoadedBundle, settings: Settings, n_workers: int, encoders: dict[int, ServedEncoder]
) -> Plan:
    """Measure a plan. Adds the encoders that it opens to `encoders`, by their number of threads."""
    if not runs_on_cpu(loaded.encoder.provider):
        return _plan(settings, 1, *gpu_batch_sizes(loaded))

    def open_encoder(n_threads: int) -> ServedEncoder:
        if n_threads not in encoders:
            encoders[n_threads] = _opened(loaded, n_threads)
        return encoders[n_threads]

    layout = cpu_layout(
        loaded,
        open_encoder,
        n_threads=threads_of(settings),
        n_workers=n_workers,
        batch_size=settings.max_batch_size,
    )
    n_texts = settings.max_batch_size or layout.batch_size
    return _plan(settings, layout.n_workers, layout.batch_size, n_texts)


def _plan(settings: Settings, n_workers: int, image_batch_size: int, text_batch_size: int) -> Plan:
    return Plan(n_workers, image_batch_size, text_batch_size, threads_of(settings))


def _can_run_parallel(loaded: LoadedBundle, settings: Settings) -> bool:
    """Whether several batches may run in parallel. OpenVINO runs one at a time, on all threads."""
    return loaded.encoder.provider == CPU_PROVIDER and threads_of(settings) > 1


def _key(settings: Settings, loaded: LoadedBundle, n_workers: int) -> str:
    encoder = loaded.encoder
    parts = (
        METHOD,
        loaded.info(settings.decode).identity,
        (encoder.provider, encoder.device_name),
        machine(threads_of(settings)),
        (n_workers, settings.max_batch_size),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _with_encoder(
    loaded: LoadedBundle,
    settings: Settings,
    plan: Plan,
    how: str,
    encoders: dict[int, ServedEncoder] | None = None,
) -> LoadedBundle:
    """Set the plan and prepare the encoder for it. `encoders`: the open ones, by number of threads."""
    LOG.info("plan for %s: %s", loaded.precision, how, extra={"fields": asdict(plan)})
    if plan.n_lanes == 1:
        return replace(loaded, plan=plan, parallel_encoder=None)
    n_threads = max(1, threads_of(settings) // plan.n_lanes)
    return replace(
        loaded, plan=plan, parallel_encoder=(encoders or {}).get(n_threads) or _opened(loaded, n_threads)
    )


def _opened(loaded: LoadedBundle, n_threads: int) -> ServedEncoder:
    return load_precision(loaded.bundle, loaded.precision, device="cpu", n_threads=n_threads).encoder
