"""Publish a run folder as the next version of a model, as `diptych-train export` and `train --publish` do."""

import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from diptych.bundle.manifest import NAME_PATTERN
from diptych.bundle.repository import SHIPPED_NAME, ModelRepository
from diptych.errors import BundleError, InvalidValue, NotFound
from diptych_training.checkpoint import TrainedRun, Which, load_run
from diptych_training.evaluate.calibrate.calibrate import calibrate_published
from diptych_training.evaluate.proof_set.proof_data import VERSION, choose_proof_data
from diptych_training.evaluate.proof_set.samples import N_PARITY_IMAGES, count_sample
from diptych_training.evaluate.results import CONFUSIONS_FILE, read_evaluation
from diptych_training.export.manifest import ExportOptions
from diptych_training.export.model_card.licence import UNKNOWN
from diptych_training.export.model_card.quality import CardAssets, Refreshed
from diptych_training.export.onnx.bundle_files import WEIGHTS_FILE
from diptych_training.export.onnx.half_weights import is_half_stored
from diptych_training.export.precisions import parse_precisions
from diptych_training.export.publish import export_run
from diptych_training.progress import Reporter
from diptych_training.run_folder import RunFolder
from diptych_training.stages import report_progress

KEPT_HALVES = (
    "weights are stored as float16, as {title} stores its own; --no-half-weights stores them as float32"
)
NO_PROOF_SET = (
    "the version has no proof set: its data are not openly licensed drawings, and {model_repo} has no "
    f"version of {SHIPPED_NAME} with one"
)


@dataclass(frozen=True)
class RunExport:
    """Options of an export; the defaults are those of `diptych-train export`.

    `data` None: the proof set of the model that the run started from, else the default data set, else the
    default model's proof set. `precisions` None: those of earlier versions. `half_weights` None: as the
    newest version of the name stores its weights. `curves` None: those of the run. `refreshed` is what a
    refresh measured. `is_calibrated`: whether the version is calibrated afterwards.
    """

    run_dir: Path
    name: str
    which: Which = "best"
    data: Path | None = None
    evaluation: Path | None = None
    precisions: str | None = None
    optimise: bool = True
    half_weights: bool | None = None
    licence: str | None = None
    ungated: bool = False
    curves: Path | None = None
    refreshed: Refreshed | None = None
    is_calibrated: bool = True


def publish_run(
    wanted: RunExport, model_repo: Path, report: Reporter, details: Reporter | None = None
) -> int:
    """Publish the run and return the version.

    `report` receives lines about precisions, storage of weights, proof
    set and licence. `details` receives the lines of finished stages, the parity table and the sizes of the
    files; they are printed if it is None. Raises CheckpointError if the run cannot be read, else what
    `publish.export_run` raises.
    """
    repository = ModelRepository(model_repo)
    trained = load_run(wanted.run_dir, wanted.which, last_by="--which last")
    options = ExportOptions(
        name=wanted.name,
        checkpoint=wanted.which,
        licence=wanted.licence,
        ungated=wanted.ungated,
        evaluation=None if wanted.evaluation is None else read_evaluation(wanted.evaluation),
        precisions=_precisions(wanted, trained, model_repo, report),
        optimise=wanted.optimise,
        half_weights=_half_weights(wanted, repository, report),
        assets=_card_assets(wanted),
        refreshed=wanted.refreshed,
    )
    with tempfile.TemporaryDirectory(prefix="diptych-proof-") as scratch:
        data = choose_proof_data(trained, wanted.data, repository, Path(scratch))
        if data.proof_set is None:
            report(NO_PROOF_SET.format(model_repo=model_repo))
        n_images, _ = count_sample(data.dataset, N_PARITY_IMAGES)
        with report_progress(n_images * options.n_embedded, "parity") as reporter:
            version = export_run(
                trained,
                data.dataset,
                repository,
                options,
                reporter if details is None else replace(reporter, report=details),
                calibrated_on=data.calibration,
                proof_set=data.proof_set,
            )
    if wanted.is_calibrated:
        calibrate_published(repository, wanted.name, version, report)
    licence = options.licence_of(trained)
    if licence.name == UNKNOWN and wanted.licence is None:
        report(f"{licence.sentence()} Pass one with --licence.")
    return version


def require_publishable(flag: str, name: str, model_repo: Path) -> None:
    """Raise InvalidValue, before long work, if a version of this name could not be published.

    `flag` is the one that gave the name.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidValue(f"{flag}: model name {name!r} must match {NAME_PATTERN}")
    if model_repo.exists() and not model_repo.is_dir():
        raise InvalidValue(f"--model-repo {model_repo}: must be a folder, this is a file")
    for place in (model_repo / name, model_repo):
        if place.exists() and not os.access(place, os.W_OK):
            raise InvalidValue(f"{place} cannot be written by this user")


def _precisions(
    wanted: RunExport, trained: TrainedRun, model_repo: Path, report: Reporter
) -> tuple[str, ...]:
    """The requested precisions, or else those of earlier versions, which a server may be using."""
    if wanted.precisions is not None:
        return parse_precisions(wanted.precisions)
    before = _precisions_before(trained, ModelRepository(model_repo), wanted.name)
    chosen = parse_precisions(",".join(chain.from_iterable(before.values())))
    for title, precisions in before.items():
        report(f"{title}: {', '.join(precisions) or f'not in {model_repo}, its precisions are unknown'}")
    if before:
        report(f"this export makes {', '.join(chosen)}; choose others with --precisions")
    return chosen


def _precisions_before(run: TrainedRun, repository: ModelRepository, name: str) -> dict[str, tuple[str, ...]]:
    """Precisions of the version that the run started from and of the newest version of `name`, by title.

    Empty for a version that the repository does not have or cannot read.
    """
    started_from = [] if run.provenance is None else [*run.provenance.started_from]
    titles = [title for title in started_from if VERSION.fullmatch(title)]
    with suppress(NotFound, BundleError):  # the first version of this name
        titles.append(f"{name}/{repository.latest(name)}")
    return {title: _precisions_of(repository, title) for title in titles}


def _precisions_of(repository: ModelRepository, title: str) -> tuple[str, ...]:
    name, number = title.split("/")
    try:
        return tuple(repository.manifest(name, int(number)).precisions)
    except (NotFound, BundleError):
        return ()


def _half_weights(wanted: RunExport, repository: ModelRepository, report: Reporter) -> bool:
    """As requested, or else as the newest version of the name stores its weights."""
    if wanted.half_weights is not None:
        return wanted.half_weights
    with suppress(NotFound, BundleError):  # the first version of this name
        version = repository.latest(wanted.name)
        if is_half_stored(repository.folder(wanted.name, version) / WEIGHTS_FILE):
            report(KEPT_HALVES.format(title=f"{wanted.name}/{version}"))
            return True
    return False


def _card_assets(wanted: RunExport) -> CardAssets:
    """The run's curves, and the confusions next to the evaluation."""
    confusions = None if wanted.evaluation is None else wanted.evaluation.with_name(CONFUSIONS_FILE)
    return CardAssets(
        curves=_existing(wanted.curves or RunFolder(wanted.run_dir).curves_file),
        confusions=None if confusions is None else _existing(confusions),
    )


def _existing(file: Path) -> Path | None:
    return file if file.is_file() else None
