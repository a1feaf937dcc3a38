"""Publish the chosen mix as the next version of the user's model."""

from contextlib import suppress
from functools import partial

from diptych.bundle.repository import ModelRepository
from diptych.errors import BundleError
from diptych_training.export.model_card.quality import Change, Refreshed
from diptych_training.export.onnx.bundle_files import WEIGHTS_FILE
from diptych_training.export.onnx.half_weights import is_half_stored
from diptych_training.export.run_export import KEPT_HALVES, RunExport, publish_run
from diptych_training.progress import Reporter
from diptych_training.refresh.evaluation.difference import Difference
from diptych_training.refresh.ledger import Published, RefreshFolder
from diptych_training.refresh.measure import Measured
from diptych_training.refresh.start import Places, RefreshOptions, Start
from diptych_training.train.interpolate.interpolation import write_mixed_run


def publish(
    options: RefreshOptions,
    places: Places,
    folder: RefreshFolder,
    *,
    start: Start,
    measured: Measured,
    report: Reporter,
) -> Published:
    """Write the mix as a run, export it in every precision of the old version, with weights stored as there
    unless the options say otherwise, prove and publish it.

    If that was interrupted right after publishing, the version is found again. Raises ParityFailed if the
    exported graphs do not match the mix.
    """
    alpha = measured.choice.alpha
    half_weights = start.half_weights if options.half_weights is None else options.half_weights
    there = _find(places.repository, options.name, folder.ledger.id, alpha, half_weights=half_weights)
    if there is not None:
        return Published(name=options.name, version=there, alpha=alpha)
    mixed = folder.mixed_run(alpha).path
    if not mixed.is_dir():
        write_mixed_run(mixed, measured.tuned, measured.old, alpha)
    wanted = RunExport(
        mixed,
        options.name,
        precisions=",".join(start.manifest.precisions),
        half_weights=half_weights,
        curves=folder.run.curves_file,
        licence=options.licence,
        refreshed=_refreshed(folder.ledger.id, start, measured),
        is_calibrated=False,  # on the user's pairs too: see `recalibrate`
    )
    if half_weights and options.half_weights is None:
        report(KEPT_HALVES.format(title=start.title))
    report(f"publishing: the exported files are proven before; details go to {folder.export_log}")
    with folder.export_log.open("w", encoding="utf-8") as log:
        version = publish_run(wanted, places.model_repo, report, details=partial(print, file=log, flush=True))
    return Published(name=options.name, version=version, alpha=alpha)


def _find(
    repository: ModelRepository, name: str, refresh_id: str, alpha: float, *, half_weights: bool
) -> int | None:
    """The version that this mix of this refresh became, stored like this; None if there is none."""
    if name not in repository.names():
        return None
    for version in reversed(repository.versions(name)):
        with suppress(BundleError):  # a version that others damaged
            refreshed = repository.manifest(name, version).metrics.get("refresh")
            found = refreshed if isinstance(refreshed, dict) else {}
            stored = is_half_stored(repository.folder(name, version) / WEIGHTS_FILE)
            if (found.get("id"), found.get("alpha"), stored) == (refresh_id, alpha, half_weights):
                return version
    return None


def _refreshed(refresh_id: str, start: Start, measured: Measured) -> Refreshed:
    """Top-1 of the old and of the new model on both sets."""
    evaluation, choice = measured.evaluation, measured.choice
    own = choice.own
    return Refreshed(
        id=refresh_id,
        alpha=choice.alpha,
        started_from=start.title,
        n_pairs=evaluation.n_own_pairs,
        shipped=_change(evaluation.shipped_difference(choice.alpha)),
        own=None if own is None else _change(own.difference),
        in_folds=choice.in_folds,
    )


def _change(found: Difference) -> Change:
    return Change(n_images=found.n, old_top1=round(found.old, 4), top1=round(found.new, 4))
