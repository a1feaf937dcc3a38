"""Publish the chosen mix as the next version of the user's model."""

from diptych_training.export.refreshed import Change, Refreshed
from diptych_training.export.run_export import RunExport, publish_run
from diptych_training.finetune.mixed_run import write_mixed_run
from diptych_training.refresh.folder import Published, RefreshFolder
from diptych_training.refresh.judge.results import SetResult
from diptych_training.refresh.measure import Measured
from diptych_training.refresh.options import Places, RefreshOptions, Say
from diptych_training.refresh.start import Start


def publish(
    options: RefreshOptions,
    places: Places,
    folder: RefreshFolder,
    *,
    start: Start,
    measured: Measured,
    say: Say,
) -> Published:
    """Write the mix as a run, export it in every precision of the old version, prove and publish it.

    Raises ParityFailed if the exported graphs do not match the mix.
    """
    alpha = measured.choice.alpha
    mixed = folder.mixed_run(alpha).path
    if not mixed.is_dir():
        write_mixed_run(mixed, measured.tuned, measured.old, alpha)
    wanted = RunExport(
        mixed,
        options.name,
        precisions=",".join(start.manifest.precisions),
        curves=folder.run.curves_file,
        licence=options.licence,
        refreshed=_refreshed(start, measured),
    )
    version = publish_run(wanted, places.model_repo, say)
    return Published(name=options.name, version=version, alpha=alpha)


def _refreshed(start: Start, measured: Measured) -> Refreshed:
    """Top-1 of the old and of the new model on both sets."""
    judged, new = measured.judged, measured.judged.at(measured.choice.alpha)
    return Refreshed(
        started_from=start.title,
        n_pairs=judged.n_own_pairs,
        shipped=_change(judged.old.shipped, new.shipped),
        own=None if judged.old.own is None or new.own is None else _change(judged.old.own, new.own),
    )


def _change(old: SetResult, new: SetResult) -> Change:
    return Change(n_images=new.n, old_top1=round(old.top(1), 4), top1=round(new.top(1), 4))
