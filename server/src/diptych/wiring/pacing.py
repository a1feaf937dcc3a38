"""Time the precisions of a version against each other here, or take the times of an earlier start.

Knows no choice. Times are kept even where others had the cores: all precisions run in turn, and a choice that
changes from start to start would give requests other vectors each time.
"""

import hashlib
import logging
from collections.abc import Mapping

from diptych.adapters.plan_file import PlanFile, machine
from diptych.bundle.manifest import identity
from diptych.core.pace import Pace, measure_pace
from diptych.wiring.bundles import VerifiedBundle
from diptych.wiring.encoders import ServedEncoder

LOG = logging.getLogger("diptych.precision")
RULES = (
    1  # counted up when precisions are timed in another way: what an older server has measured is forgotten
)


def paces_of(
    bundle: VerifiedBundle,
    encoders: Mapping[str, ServedEncoder],
    *,
    n_threads: int,
    max_batch_size: int,
    kept: PlanFile | None,
) -> dict[str, Pace]:
    """The pace of each precision, measured once for each version, machine and choice of settings.

    Without a file it is measured each time.
    """
    key = _key(bundle, encoders, n_threads, max_batch_size)
    known = None if kept is None else kept.paces(key)
    if known is not None and known.keys() == encoders.keys():
        LOG.info("times of precisions are those of an earlier start")
        return known
    golden = bundle.golden
    paces = measure_pace(encoders, golden.pixels, golden.input_ids, max_batch_size=max_batch_size)
    if kept is not None:
        kept.put_paces(key, paces)
    return paces


def _key(
    bundle: VerifiedBundle, encoders: Mapping[str, ServedEncoder], n_threads: int, max_batch_size: int
) -> str:
    what = (
        RULES,
        [
            (name, identity(bundle.folder, name, "exact"), one.provider, one.device_name, one.captures)
            for name, one in encoders.items()
        ],
        machine(n_threads),
        max_batch_size,
    )
    return hashlib.sha256(repr(what).encode()).hexdigest()
