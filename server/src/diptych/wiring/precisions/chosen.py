"""Choose the precisions of requests and of collections, and load a version in them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diptych.adapters.files.plan_file import PlanFile
from diptych.core.tuning.precision import (
    Candidate,
    Choice,
    Serving,
    choose_fastest,
    choose_for_collections,
    choose_like,
)
from diptych.errors import BundleError, ConfigError, EncoderFailed
from diptych.settings import AUTO, PREFIX, Device
from diptych.wiring.loading.bundles import LoadedBundle, VerifiedBundle
from diptych.wiring.precisions.trials import Trials
from diptych.wiring.tuning.encoder_timing import encoder_timings

LOG = logging.getLogger("diptych.precision")


@dataclass(frozen=True)
class ChosenPrecisions:
    """The loaded precision of requests (`embed`) and that of collections; one object if both are the same."""

    embed: LoadedBundle
    collections: LoadedBundle
    serving: Serving


def load_chosen(
    bundle: VerifiedBundle,
    *,
    precision: str,
    collection_precision: str,
    device: Device,
    n_threads: int,
    captures: bool = False,
    plan_file: PlanFile | None = None,
    like: str | None = None,
    falls_back: bool = False,
) -> ChosenPrecisions:
    """Try the precisions, choose, and close those that were not chosen.

    With `captures`, GPU batches run as CUDA graphs if they can. Precisions are timed unless `plan_file` has
    their times from an earlier start. Pass `like`, the precision of the version that serves, while requests
    run: then nothing is timed, and `precision` counts only where the version lacks `like`. With `falls_back`,
    a named precision that cannot be served here counts as `auto`.

    Raises BundleError, EncoderFailed, ConfigError.
    """
    required = () if precision == AUTO else (precision,)
    trials = Trials(bundle, device=device, n_threads=n_threads, required=required, captures=captures)
    try:
        if falls_back:
            precision, collection_precision = (
                _servable(trials, named) for named in (precision, collection_precision)
            )
        requests = choose_for_requests(trials, precision, plan_file, like)
        chosen = _with_collections(trials, requests, collection_precision)
    except BaseException:
        trials.close()
        raise
    trials.close(keep=(chosen.embed, chosen.collections))
    return chosen


def _servable(trials: Trials, precision: str) -> str:
    """The precision if it can be served here, else `auto`."""
    if precision == AUTO:
        return AUTO
    try:
        trials.load(precision)
    except (BundleError, EncoderFailed, ConfigError) as error:
        manifest = trials.bundle.manifest
        LOG.warning(
            "%s/%d is served in another precision than %s, which the settings name: %s",
            *(manifest.name, manifest.version, precision, error),
        )
        return AUTO
    return precision


def _with_collections(trials: Trials, embed: Choice, collection_precision: str) -> ChosenPrecisions:
    loaded = trials.load(embed.precision)
    collections = _choose_for_collections(trials, collection_precision, loaded)
    for purpose, choice in (("requests", embed), ("collections", collections)):
        LOG.info("%s for %s: %s", choice.precision, purpose, choice.reason)
    manifest = trials.bundle.manifest
    for name, reason in trials.failed().items():
        LOG.warning("%s/%d is not served in %s: %s", manifest.name, manifest.version, name, reason)
    device = trials.device
    LOG.info("encoders run on %s: %s", device.name or device.provider, device.reason)
    return ChosenPrecisions(loaded, trials.load(collections.precision), Serving(embed, collections, device))


def choose_for_requests(
    trials: Trials, precision: str, plan_file: PlanFile | None = None, like: str | None = None
) -> Choice:
    """Choose the named precision, or with `auto` the fastest that passes; with `like`, see load_chosen.

    Raises as load_chosen.
    """
    if like is not None and (precision == AUTO or like in trials.precisions):
        return choose_like(like, trials.precisions, trials.attempt)
    if precision != AUTO:
        trials.load(precision)
        return Choice(precision, f"set by {PREFIX}PRECISION", (Candidate(precision, passed=True),))
    candidates = [trials.attempt(name) for name in trials.precisions]
    return choose_fastest(_timed(trials, candidates, plan_file))


def _timed(trials: Trials, candidates: Sequence[Candidate], plan_file: PlanFile | None) -> list[Candidate]:
    """Return the candidates with the times of those that passed, unless only one did."""
    encoders = {one.precision: trials.load(one.precision).encoder for one in candidates if one.passed}
    if len(encoders) < 2:
        return list(candidates)
    timings = encoder_timings(trials.bundle, encoders, n_threads=trials.n_threads, plan_file=plan_file)
    return [
        replace(one, image_ms=timings[one.precision].image_ms, text_ms=timings[one.precision].text_ms)
        if one.precision in timings
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
