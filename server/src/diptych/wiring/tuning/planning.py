"""Choose how a loaded precision runs on this machine, or take the plan of an earlier start.

A plan is measured once for each version, precision, machine and choice of settings.
"""

import hashlib
import logging
from dataclasses import asdict, replace
from time import perf_counter

from diptych.adapters.files.plan_file import PlanFile
from diptych.adapters.onnxruntime.processor import machine, n_cpus
from diptych.core.tuning.execution_layout import Plan, sizes_up_to
from diptych.core.tuning.precision import CPU_PROVIDER
from diptych.settings import Settings
from diptych.wiring.loading.bundles import LoadedBundle, load_precision
from diptych.wiring.loading.encoders import ServedEncoder
from diptych.wiring.tuning.measuring import cpu_layout, gpu_batch_sizes

LOG = logging.getLogger("diptych.plan")
PLAN_FILE = "plans.json"  # in the data folder
PHOTOGRAPH_PX = 12_500_000  # as phones take them
MAX_SHARING = 4  # its file is decoded by one thread, which takes as long as four take to resize it
RULES = 6  # counted up when plans are measured in another way: what an older server has measured is forgotten


def with_plan(loaded: LoadedBundle, settings: Settings, otherwise: Plan | None = None) -> LoadedBundle:
    """The same with its plan and, where that has several workers, the encoder for batches side by side.

    Beside requests nothing can be measured: there `otherwise`, the plan of another precision, is taken where
    no earlier start has measured one.
    """
    n_workers = settings.n_lanes if _can_share(loaded, settings) else 1
    if n_workers and settings.max_batch_size:
        plan = _plan(settings, n_workers, settings.max_batch_size, settings.max_batch_size)
        return _settled(loaded, settings, plan, "set")
    plans, key = PlanFile(settings.data_dir / PLAN_FILE), _key(settings, loaded, n_workers)
    known = plans.get(key, Plan)
    if known is not None:
        return _settled(loaded, settings, known, "of an earlier start")
    if otherwise is not None:
        return _settled(loaded, settings, otherwise, "that of another precision until the next start")
    began, encoders = perf_counter(), {threads_of(settings): loaded.encoder}
    plan = _measured(loaded, settings, n_workers, encoders)
    plans.put(key, plan)
    how = f"measured in {perf_counter() - began:.1f} s"
    return _settled(loaded, settings, plan, how, encoders)


def threads_of(settings: Settings) -> int:
    """Threads that encode, all workers together."""
    return settings.n_threads or n_cpus()


def decoded_px_of(settings: Settings, plan: Plan, provider: str) -> int:
    """Pixels of all images that may be decoded at once.

    What one may have, so that many threads need no more memory than one. Beside a GPU, which waits for all
    of them, a photograph of a phone for each thread where that is more.
    """
    if provider == CPU_PROVIDER:
        return settings.max_image_px
    return max(settings.max_image_px, PHOTOGRAPH_PX * plan.n_decode_threads)


def sharing_of(settings: Settings) -> int:
    """Threads that resize a picture which is alone: no more than may encode, or decode."""
    return min(MAX_SHARING, threads_of(settings), settings.n_decode_threads or n_cpus())


def _measured(
    loaded: LoadedBundle, settings: Settings, n_workers: int, encoders: dict[int, ServedEncoder]
) -> Plan:
    """`encoders`, by their threads, are added to."""
    if loaded.encoder.provider != CPU_PROVIDER:
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
    return Plan(n_workers, image_batch_size, text_batch_size, settings.n_decode_threads or n_cpus())


def _can_share(loaded: LoadedBundle, settings: Settings) -> bool:
    """Whether several batches may run side by side."""
    return loaded.encoder.provider == CPU_PROVIDER and threads_of(settings) > 1


def _key(settings: Settings, loaded: LoadedBundle, n_workers: int) -> str:
    encoder = loaded.encoder
    what = (
        RULES,
        loaded.info(settings.decode).identity,
        (encoder.provider, encoder.device_name),
        machine(threads_of(settings)),
        (n_workers, settings.max_batch_size, settings.n_decode_threads or n_cpus()),
    )
    return hashlib.sha256(repr(what).encode()).hexdigest()


def _settled(
    loaded: LoadedBundle,
    settings: Settings,
    plan: Plan,
    how: str,
    encoders: dict[int, ServedEncoder] | None = None,
) -> LoadedBundle:
    """`encoders`, by their threads, are those that are open."""
    LOG.info("plan for %s: %s", loaded.precision, how, extra={"fields": asdict(plan)})
    loaded.encoder.fit(sizes_up_to(plan.image_batch_size), sizes_up_to(plan.text_batch_size))
    if plan.n_lanes == 1:
        return replace(loaded, plan=plan, beside=None)
    n_threads = max(1, threads_of(settings) // plan.n_lanes)
    return replace(loaded, plan=plan, beside=(encoders or {}).get(n_threads) or _opened(loaded, n_threads))


def _opened(loaded: LoadedBundle, n_threads: int) -> ServedEncoder:
    return load_precision(loaded.bundle, loaded.precision, device="cpu", n_threads=n_threads).encoder
