"""The stages of a refresh, in order: look at the pairs, choose a recipe, train, measure, report, publish.

Each stage leaves its results in the folder of the refresh and is passed over if they are there, so that an
interrupted command continues where it was and comes to the same result.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256

from diptych.bundle.manifest import TextSpec
from diptych.errors import NotFound
from diptych_training.config import TrainConfig
from diptych_training.errors import NothingGained, RunInUse, TooMuchLost, TrainingConfigError
from diptych_training.export.onnx.bundle_files import WEIGHTS_FILE
from diptych_training.export.onnx.half_weights import is_half_stored
from diptych_training.files import exclusive_lock, write_text
from diptych_training.progress import Reporter
from diptych_training.refresh.evaluation.evaluate import is_bound_alone
from diptych_training.refresh.evaluation.trials import FoldScores, best_training
from diptych_training.refresh.folds import chosen_recipe, judge_folds
from diptych_training.refresh.ledger import Published, RefreshFolder, Request, latest_ledger, open_folder
from diptych_training.refresh.measure import Measured, measure
from diptych_training.refresh.pairs.own import SHEET_FILE
from diptych_training.refresh.pairs.prepare import pairs_digest, prepare_pairs
from diptych_training.refresh.publish import publish
from diptych_training.refresh.recalibrate import recalibrate
from diptych_training.refresh.report.report import write_report
from diptych_training.refresh.start import (
    Places,
    RefreshOptions,
    Start,
    default_start,
    open_start,
    start_manifest,
)
from diptych_training.refresh.summary import report_gains, summary, too_much_lost
from diptych_training.refresh.train import begin, choose_recipe, train

REFRESHES = "refresh"  # folder in the folder of runs


@dataclass(frozen=True)
class Outcome:
    """How far a refresh came.

    `published` is None if it was interrupted or only looked at the pairs. `measured` is None too if the
    refresh was finished before.
    """

    folder: RefreshFolder
    published: Published | None = None
    measured: Measured | None = None
    is_interrupted: bool = False


def refresh(options: RefreshOptions, places: Places, report: Reporter) -> Outcome:
    """Go through all stages that are not done yet.

    Raises DataError for pairs that cannot be used, TrainingConfigError for a recipe that cannot,
    CheckpointError for a model without weights, TooMuchLost if the new model loses more of what the old one
    knew than `max_loss`, NothingGained if none is better than the old one, RunInUse if another process
    refreshes the same name. Nothing is published then.
    """
    in_use = RunInUse(f"another process refreshes {options.name} in {places.runs_dir}")
    with exclusive_lock(places.runs_dir / REFRESHES / f".{options.name}.lock", in_use):
        return _refresh(options, places, report)


def _refresh(options: RefreshOptions, places: Places, report: Reporter) -> Outcome:
    start, request = _begin(options, places)
    report(f"{options.name} starts from {start.title}")
    if options.reviewed is not None:
        report(options.reviewed.text)
        options.reviewed.candidates.templates_of(TextSpec.model_validate(start.source.tables["text"]))
    folder = open_folder(places.runs_dir / REFRESHES, options.name, request, again=options.again)
    published = folder.ledger.published
    if published is not None and _is_current(published, options, places) and not folder.is_recipe_edited:
        report("the same pairs, model and recipe were used before; --again trains once more\n")
        report(summary(folder, start, published, places.repository))
        return Outcome(folder, published)
    findings = prepare_pairs(options.sources, start.source, folder.pairs, options.pairs, start.shipped)
    if options.reviewed is not None:
        findings = findings.without("shared_captions")  # labels are to be shared
    report(f"\n{findings.text()}\npictures as the model sees them: {folder.pairs / SHEET_FILE}\n")
    recipe = choose_recipe(options, folder, start, findings, report)
    most = "at most " if findings.n_folds else ""
    report(f"recipe: {folder.recipe_file} ({most}{recipe.run.steps:,} steps)")
    if options.only_look:
        report(
            "nothing is trained yet: edit the recipe if you like; the same command without --look continues"
        )
        return Outcome(folder)
    begin(folder, report)
    folds = None
    if findings.n_folds:
        folds = judge_folds(options, places, folder, start=start, recipe=recipe, report=report)
        if folds is None:
            return Outcome(folder, is_interrupted=True)
    measured = _trained(options, places, folder, start=start, recipe=recipe, folds=folds, report=report)
    if measured is None:
        return Outcome(folder, is_interrupted=True)
    content = report_gains(options, folder, start, pairs=findings, measured=measured, report=report)
    if measured.choice.alpha == 0:
        raise NothingGained(
            f"no mix names more held-out pictures right than {start.title} does, within the bound of "
            f"{options.max_loss:g} points: nothing is published. See {folder.page}"
        )
    if not measured.choice.is_within:
        raise TooMuchLost(too_much_lost(measured))
    published = publish(options, places, folder, start=start, measured=measured, report=report)
    relevance = recalibrate(places.repository, published, folder, start)
    report(relevance)
    write_report(folder.path, replace(content, relevance=relevance))
    folder.record(folder.ledger, published=published)
    report(f"\n{summary(folder, start, published, places.repository)}")
    return Outcome(folder, published, measured)


def _trained(
    options: RefreshOptions,
    places: Places,
    folder: RefreshFolder,
    *,
    start: Start,
    recipe: TrainConfig,
    folds: FoldScores | None,
    report: Reporter,
) -> Measured | None:
    """Train on all pairs and measure; None if that was interrupted.

    If a training that the folds chose loses too much at every weight that gains, the next one of its rate
    takes its place.
    """
    until = recipe.run.steps
    if folds is not None:
        training = best_training(folds)
        recipe, until = chosen_recipe(recipe, training), training.steps
        report(f"the folds chose {until:,} steps at a rate of {training.rate:g}: training on all pairs")
    if not train(options, places, folder, start=start, recipe=recipe, until=until, report=report):
        return None
    measured = measure(folder, start.shipped, options, folds)
    if folds is None or not is_bound_alone(measured.evaluation, measured.choice, folds):
        return measured
    left = folds.without(training)
    if left is None:
        return measured
    report(f"{until:,} steps lose more than {options.max_loss:g} points at every weight that gains")
    write_text(folder.folds_file, f"{left.model_dump_json()}\n")
    return _trained(options, places, folder, start=start, recipe=recipe, folds=left, report=report)


def require_start(given: str | None, name: str, places: Places) -> None:
    """Raise, before pictures are downloaded, if there is no model to start from: see `open_start`."""
    latest = latest_ledger(places.runs_dir / REFRESHES, name)
    if given is None and latest is not None:
        with suppress(NotFound):
            start_manifest(latest.request.model, places)
            return
    start_manifest(given or default_start(name, places), places)


def _begin(options: RefreshOptions, places: Places) -> tuple[Start, Request]:
    """The model to start from, and the request that decides which folder is used.

    Without --from a repeated command starts from the same model as before, although its version of the name
    may be published by now.
    """
    if options.start is not None:
        start = open_start(options.start, places)
        return start, _request(options, start)
    latest = latest_ledger(places.runs_dir / REFRESHES, options.name)
    if latest is not None and not (options.again and latest.published):
        before = latest.request
        with suppress(NotFound):  # the version may have been removed
            start = open_start(before.model, places)
            if _request(options, start) == before:
                return start, before
    start = open_start(default_start(options.name, places), places)
    return start, _request(options, start)


def _is_current(published: Published, options: RefreshOptions, places: Places) -> bool:
    """Whether the published version is still there, and has the weight and the storage that are asked for
    now.
    """
    repository, name, version = places.repository, published.name, published.version
    if name not in repository.names() or version not in repository.versions(name):
        return False
    is_half = is_half_stored(repository.folder(name, version) / WEIGHTS_FILE)
    return options.alpha in (None, published.alpha) and options.half_weights in (None, is_half)


def _request(options: RefreshOptions, start: Start) -> Request:
    return Request(
        model=start.title,
        pairs=pairs_digest(options.sources, start.source, options.pairs, start.shipped),
        recipe=None if options.recipe is None else _digest_of_recipe(options),
        overrides=options.overrides,
        candidates=None if options.reviewed is None else options.reviewed.candidates.digest,
    )


def _digest_of_recipe(options: RefreshOptions) -> str:
    assert options.recipe is not None
    try:
        return sha256(options.recipe.read_bytes()).hexdigest()
    except OSError as error:
        raise TrainingConfigError(f"--recipe {options.recipe}: {error.strerror}") from error
