"""Measure how a loaded precision runs best on this machine, or take the plan of an earlier start.

Knows nothing of services. Measuring takes at most about five seconds of a machine that does nothing else, and
happens once for each version, precision, machine and choice of settings.
"""

import hashlib
import logging
from dataclasses import asdict, replace
from time import perf_counter

from diptych.adapters.plan_file import PlanFile, machine, n_cpus, usable_cpus
from diptych.core.plan import Plan, sizes_up_to
from diptych.core.precision import CPU_PROVIDER
from diptych.settings import Settings
from diptych.wiring.bundles import LoadedBundle, load_precision
from diptych.wiring.encoders import ServedEncoder
from diptych.wiring.measuring import Measurement

LOG = logging.getLogger("diptych.plan")
PLAN_FILE = "plans.json"  # in the data folder
PHOTOGRAPH_PX = 12_500_000  # as phones take them
MAX_SHARING = 4  # its file is decoded by one thread, which takes as long as four take to resize it
RULES = 5  # counted up when plans are measured in another way: what an older server has measured is forgotten


def with_plan(loaded: LoadedBundle, settings: Settings) -> LoadedBundle:
    """The same with its plan and, where that has several lanes, the encoder for batches side by side."""
    plans = PlanFile(settings.data_dir / PLAN_FILE)
    given = _given(settings, loaded)
    key = _key(settings, loaded, given)
    plan = plans.get(key)
    if plan is not None:
        return _settled(loaded, settings, plan, "of an earlier start")
    if 0 not in given.values():
        return _settled(loaded, settings, Plan(**given), "set")
    encoders = {
        n: loaded.encoder if n == 1 else _beside(loaded, settings, n) for n in _options(settings, given)
    }
    began = perf_counter()
    measurement = Measurement(
        loaded, encoders, n_threads=threads_of(settings), n_cpus=usable_cpus(), decode=settings.decode
    )
    plan = measurement.plan(given)
    if measurement.was_alone:
        plans.put(key, plan)
    else:
        LOG.warning("the plan is not kept, the next start measures again: others had the cores meanwhile")
    how = f"measured in {perf_counter() - began:.1f} s"
    return _settled(loaded, settings, plan, how, beside=encoders[plan.n_lanes])


def with_known_plan(loaded: LoadedBundle, settings: Settings, otherwise: Plan) -> LoadedBundle:
    """The same beside requests, among which nothing can be measured: with the plan of an earlier start.

    Without one it is run as `otherwise`, the plan of another precision, until the next start.
    """
    given = _given(settings, loaded)
    plan = PlanFile(settings.data_dir / PLAN_FILE).get(_key(settings, loaded, given))
    if plan is not None:
        return _settled(loaded, settings, plan, "of an earlier start")
    if 0 not in given.values():
        return _settled(loaded, settings, Plan(**given), "set")
    return _settled(loaded, settings, otherwise, "that of another precision until the next start")


def threads_of(settings: Settings) -> int:
    """Threads that encode, all lanes together."""
    return settings.n_threads or n_cpus()


def decoded_px_of(settings: Settings, plan: Plan, provider: str) -> int:
    """Pixels of all images that may be decoded at once.

    What one may have, so that many threads need no more memory than one. Beside a GPU, which waits for all
    of them, a photograph of a phone for each thread where that is more.
    """
    if settings.max_decoded_px:
        return settings.max_decoded_px
    if provider == CPU_PROVIDER:
        return settings.max_image_px
    return max(settings.max_image_px, PHOTOGRAPH_PX * plan.n_decode_threads)


def sharing_of(settings: Settings) -> int:
    """Threads that resize a picture which is alone: no more than may encode, or decode."""
    return min(MAX_SHARING, threads_of(settings), settings.n_decode_threads or n_cpus())


def _given(settings: Settings, loaded: LoadedBundle) -> dict[str, int]:
    """The fields of a plan; 0 where settings leave it to be measured."""
    can_share = loaded.encoder.provider == CPU_PROVIDER and threads_of(settings) > 1
    return {
        "n_lanes": settings.n_lanes if can_share else 1,
        "image_batch_size": settings.max_batch_size,
        "text_batch_size": settings.max_batch_size,
        "n_decode_threads": settings.n_decode_threads,
    }


def _options(settings: Settings, given: dict[str, int]) -> list[int]:
    """Numbers of lanes that are worth a try."""
    n_threads = threads_of(settings)
    halves = {n_threads // 2} if n_threads >= 4 else set()
    return [given["n_lanes"]] if given["n_lanes"] else sorted({1, n_threads} | halves)


def _key(settings: Settings, loaded: LoadedBundle, given: dict[str, int]) -> str:
    what = (
        RULES,
        loaded.info(settings.decode).identity,
        _place(loaded.encoder),
        machine(threads_of(settings)),
        n_cpus(),  # that decode, however many encode
        given,
    )
    return hashlib.sha256(repr(what).encode()).hexdigest()


def _place(encoder: ServedEncoder) -> str:
    """The device that a plan is for."""
    return encoder.provider if encoder.device_name is None else f"{encoder.provider} on {encoder.device_name}"


def _settled(
    loaded: LoadedBundle, settings: Settings, plan: Plan, how: str, beside: ServedEncoder | None = None
) -> LoadedBundle:
    LOG.info("plan for %s: %s", loaded.precision, how, extra={"fields": asdict(plan)})
    loaded.encoder.fit(sizes_up_to(plan.image_batch_size), sizes_up_to(plan.text_batch_size))
    if plan.n_lanes == 1:
        return replace(loaded, plan=plan, beside=None)
    return replace(loaded, plan=plan, beside=beside or _beside(loaded, settings, plan.n_lanes))


def _beside(loaded: LoadedBundle, settings: Settings, n_lanes: int) -> ServedEncoder:
    n_threads = max(1, threads_of(settings) // n_lanes)
    return load_precision(loaded.bundle, loaded.precision, device="cpu", n_threads=n_threads).encoder
