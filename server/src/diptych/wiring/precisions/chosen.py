"""Load a version in the precisions that requests and collections get. Knows nothing of services."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diptych.adapters.files.plan_file import PlanFile
from diptych.core.tuning.precision import Candidate, Choice, Serving, choose_fastest, choose_for_collections
from diptych.settings import AUTO, PREFIX, Device
from diptych.wiring.loading.bundles import LoadedBundle, VerifiedBundle
from diptych.wiring.precisions.trials import Trials
from diptych.wiring.tuning.encoder_timing import paces_of

LOG = logging.getLogger("diptych.precision")


@dataclass(frozen=True)
class ChosenPrecisions:
    """What answers requests and what collections use: one object when it is one precision."""

    embed: LoadedBundle
    collections: LoadedBundle
    serving: Serving


def load_served(
    bundle: VerifiedBundle,
    *,
    precision: str,
    collection_precision: str,
    device: Device,
    n_threads: int,
    captures: bool = False,
    kept: PlanFile | None = None,
) -> ChosenPrecisions:
    """Try, choose, and let go of the rest. Raises BundleError, EncoderFailed, ConfigError.

    With `captures` batches of a GPU run as CUDA graphs, if they can. Precisions are timed only where `kept`
    has no times of an earlier start.
    """
    wanted = () if precision == AUTO else (precision,)
    trials = Trials(bundle, device=device, n_threads=n_threads, wanted=wanted, captures=captures)
    try:
        served = _chosen(trials, precision, collection_precision, kept)
    except BaseException:
        trials.let_go()
        raise
    trials.let_go(but=(served.embed, served.collections))
    return served


def _chosen(
    trials: Trials,
    precision: str,
    collection_precision: str,
    kept: PlanFile | None,
) -> ChosenPrecisions:
    embed = choose_for_requests(trials, precision, kept)
    loaded = trials.load(embed.precision)
    collections = _choose_for_collections(trials, collection_precision, loaded)
    for purpose, choice in (("requests", embed), ("collections", collections)):
        LOG.info("%s for %s: %s", choice.precision, purpose, choice.reason)
    manifest = trials.bundle.manifest
    for name, why in trials.failed().items():
        LOG.warning("%s/%d is not served in %s: %s", manifest.name, manifest.version, name, why)
    where = trials.device
    LOG.info("encoders run on %s: %s", where.name or where.provider, where.reason)
    return ChosenPrecisions(loaded, trials.load(collections.precision), Serving(embed, collections, where))


def choose_for_requests(trials: Trials, precision: str, kept: PlanFile | None = None) -> Choice:
    """The named precision, or with `auto` the fastest that passes. Raises as load_served."""
    if precision != AUTO:
        trials.load(precision)
        return Choice(precision, f"set by {PREFIX}PRECISION", (Candidate(precision, passed=True),))
    candidates = [trials.attempt(name) for name in trials.precisions]
    return choose_fastest(_timed(trials, candidates, kept))


def _timed(trials: Trials, candidates: Sequence[Candidate], kept: PlanFile | None) -> list[Candidate]:
    """The same with the times of those that passed, unless there is only one."""
    encoders = {one.precision: trials.load(one.precision).encoder for one in candidates if one.passed}
    if len(encoders) < 2:
        return list(candidates)
    paces = paces_of(trials.bundle, encoders, n_threads=trials.n_threads, kept=kept)
    return [
        replace(one, image_ms=paces[one.precision].image_ms, text_ms=paces[one.precision].text_ms)
        if one.precision in paces
        else one
        for one in candidates
    ]


def _choose_for_collections(trials: Trials, precision: str, embed: LoadedBundle) -> Choice:
    if precision != AUTO:
        trials.load(precision)
        return Choice(precision, f"set by {PREFIX}COLLECTION_PRECISION")

    def passes(name: str) -> bool:
        return name in trials.precisions and trials.attempt(name).passed

    return choose_for_collections(embed.encoder.provider, passes, otherwise=embed.precision)
