"""Load a version in a named precision, or in the one that suits this machine."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diptych.adapters.files.plan_file import PlanFile
from diptych.core.tuning.precision import Candidate, Choice, DeviceChoice, choose
from diptych.settings import AUTO, Device
from diptych.wiring.loading.bundles import LoadedBundle, VerifiedBundle
from diptych.wiring.precisions.trials import Trials
from diptych.wiring.tuning.encoder_timing import encoder_timings

LOG = logging.getLogger("diptych.precision")


@dataclass(frozen=True)
class ChosenPrecision:
    """A version that is loaded in one precision, why in this one, and on which device."""

    loaded: LoadedBundle
    choice: Choice
    device: DeviceChoice


def load_chosen(
    bundle: VerifiedBundle,
    *,
    precision: str,
    reason: str,
    device: Device,
    n_threads: int,
    plan_file: PlanFile | None = None,
) -> ChosenPrecision:
    """Load the named precision, for `reason`; or with `auto` try all, choose, and close the others.

    Precisions are timed unless `plan_file` has their times from an earlier start. Raises BundleError,
    EncoderFailed, ConfigError.
    """
    required = () if precision == AUTO else (precision,)
    trials = Trials(bundle, device=device, n_threads=n_threads, required=required, plan_file=plan_file)
    try:
        choice = choose_precision(trials, plan_file) if precision == AUTO else Choice(precision, reason)
        loaded = trials.load(choice.precision)
        manifest = bundle.manifest
        LOG.info(
            "%s/%d is loaded in %s: %s", manifest.name, manifest.version, choice.precision, choice.reason
        )
        for name, error in trials.failed().items():
            LOG.warning("%s/%d is not served in %s: %s", manifest.name, manifest.version, name, error)
        device_choice = replace(trials.device, provider=loaded.encoder.provider)
        chosen = ChosenPrecision(loaded, choice, device_choice)
        LOG.info("encoders run on %s: %s", chosen.device.name or chosen.device.provider, chosen.device.reason)
    except BaseException:
        trials.close()
        raise
    trials.close(keep=(loaded,))
    return chosen


def choose_precision(trials: Trials, plan_file: PlanFile | None = None) -> Choice:
    """Choose the precision that suits this machine. Raises as load_chosen."""
    candidates = [trials.attempt(name) for name in trials.precisions]
    return choose(_timed(trials, candidates, plan_file))


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
