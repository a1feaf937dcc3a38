"""The stages of a refresh, in order: look at the pairs, choose a recipe, train, judge, tell, publish.

Each stage leaves its results in the folder of the refresh and is passed over if they are there, so that an
interrupted command continues where it was and comes to the same result.
"""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from diptych.errors import NotFound
from diptych_training.checkpoint import checkpoint_step
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.packed import read_dataset
from diptych_training.errors import NothingGained, RunInUse, TooMuchLost, TrainingConfigError
from diptych_training.export.onnx.bundle_files import WEIGHTS_FILE
from diptych_training.export.onnx.half_weights import is_half_stored
from diptych_training.files import exclusive_lock, write_text
from diptych_training.refresh.folder import Published, RefreshFolder, Request, latest_folder, open_folder
from diptych_training.refresh.judge.judge import ALPHAS
from diptych_training.refresh.measure import Measured, measure, n_judged
from diptych_training.refresh.options import Places, RefreshOptions, Say
from diptych_training.refresh.pairs.contact_sheet import SHEET_FILE
from diptych_training.refresh.pairs.findings import PairsReport
from diptych_training.refresh.pairs.prepare import pairs_digest, prepare_pairs
from diptych_training.refresh.publish import publish
from diptych_training.refresh.recipe import old_pairs, write_recipe
from diptych_training.refresh.remaining import Remaining, embedding_seconds
from diptych_training.refresh.report.report import headline
from diptych_training.refresh.start import Start, default_start, open_start
from diptych_training.refresh.tell import summary, tell, too_much_lost
from diptych_training.train.teachers import open_teachers
from diptych_training.train.train_run import train_run

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


def refresh(options: RefreshOptions, places: Places, say: Say) -> Outcome:
    """Go through all stages that are not done yet.

    Raises DataError for pairs that cannot be used, TrainingConfigError for a recipe that cannot,
    CheckpointError for a model without weights, TooMuchLost if the new model loses more of what the old one
    knew than `max_loss`, NothingGained if none is better than the old one, RunInUse if another process
    refreshes the same name. Nothing is published then.
    """
    in_use = RunInUse(f"another process refreshes {options.name} in {places.runs_dir}")
    with exclusive_lock(places.runs_dir / REFRESHES / f".{options.name}.lock", in_use):
        return _refresh(options, places, say)


def _refresh(options: RefreshOptions, places: Places, say: Say) -> Outcome:
    start, request = _begin(options, places)
    say(f"{options.name} starts from {start.title}")
    folder = open_folder(places.runs_dir / REFRESHES, options.name, request, again=options.again)
    published = folder.published()
    if published is not None and _is_current(published, options, places) and not folder.is_recipe_edited:
        say("the same pairs, model and recipe were used before; --again trains once more\n")
        say(summary(folder, start, published, places.repository))
        return Outcome(folder, published)
    report = prepare_pairs(options.sources, start.source, folder.pairs, options.pairs, start.shipped)
    say(f"\n{report.text()}\npictures as the model sees them: {folder.pairs / SHEET_FILE}\n")
    recipe = _recipe(options, folder, start, report, say)
    say(f"recipe: {folder.recipe_file} ({recipe.run.steps:,} steps)")
    if options.only_look:
        say("nothing is trained yet: edit the recipe if you like; the same command without --look continues")
        return Outcome(folder)
    if not _train(options, places, folder, start=start, recipe=recipe, say=say):
        return Outcome(folder, is_interrupted=True)
    measured = measure(folder, start.shipped, options)
    tell(options, folder, start, pairs=report, measured=measured, say=say)
    if measured.choice.alpha == 0:
        raise NothingGained(
            f"no mix names more held-out pictures right than {start.title} does, within the bound of "
            f"{options.max_loss:g} points: nothing is published. See {folder.page}"
        )
    if not measured.choice.is_within:
        raise TooMuchLost(too_much_lost(measured))
    published = publish(options, places, folder, start=start, measured=measured, say=say)
    folder.set_published(published)
    gains = headline(measured.judged, measured.choice)
    say(f"\n{summary(folder, start, published, places.repository, gains)}")
    return Outcome(folder, published, measured)


def _begin(options: RefreshOptions, places: Places) -> tuple[Start, Request]:
    """The model to start from, and the request that decides which folder is used.

    Without --from a repeated command starts from the same model as before, although its version of the name
    may be published by now.
    """
    if options.start is not None:
        start = open_start(options.start, places)
        return start, _request(options, start)
    latest = latest_folder(places.runs_dir / REFRESHES, options.name)
    before = None if latest is None or (options.again and latest.published()) else latest.request()
    if before is not None:
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
    )


def _digest_of_recipe(options: RefreshOptions) -> str:
    assert options.recipe is not None
    try:
        return sha256(options.recipe.read_bytes()).hexdigest()
    except OSError as error:
        raise TrainingConfigError(f"--recipe {options.recipe}: {error.strerror}") from error


def _recipe(
    options: RefreshOptions, folder: RefreshFolder, start: Start, report: PairsReport, say: Say
) -> TrainConfig:
    """The recipe in the folder, which is written if there is none yet."""
    if options.recipe is not None:
        shutil.copyfile(options.recipe, folder.recipe_file)
    elif not folder.recipe_file.is_file():
        old = old_pairs(options.old_data, start.manifest, start.shipped)
        say(str(old))
        write_recipe(
            folder.recipe_file,
            folder.name,
            start.title,
            n_train=report.n_train,
            old=old,
            seed=folder.number - 1,
            loss=start.source.tables["loss"],
            knows_photographs=start.source.tables["model"]["image"]["kind"] == "photographs_and_drawings",
        )
    return read_config(
        folder.recipe_file,
        options.overrides,
        folder.name,
        start.title,
        start_tables=lambda _: start.source.tables,
    )


def _train(
    options: RefreshOptions,
    places: Places,
    folder: RefreshFolder,
    *,
    start: Start,
    recipe: TrainConfig,
    say: Say,
) -> bool:
    """Train the run of the refresh to its end; False if it was interrupted.

    A recipe that was edited since the training began makes it begin again.
    """
    run = folder.run
    if run.has_begun and folder.is_recipe_edited:
        kept = folder.set_run_aside()
        say(f"the recipe was edited since: the training begins again (the run before it: {kept})")
    write_text(folder.trained_recipe_file, folder.recipe_file.read_text(encoding="utf-8"))
    if run.last.is_file() and checkpoint_step(run.last) >= recipe.run.steps:
        return True
    own = read_dataset(folder.own)
    remaining = Remaining(
        n_mixes=len(ALPHAS),
        n_pictures=n_judged(own, start.shipped, options.shipped_pictures),
        n_precisions=len(start.manifest.precisions),
    )
    return train_run(
        recipe,
        own,
        run.path,
        start.source,
        open_teachers=lambda: open_teachers(recipe, places.runs_dir, places.model_repo),
        resume=run.has_begun,
        device=options.device,
        say=say,
        after_training=lambda model: remaining.text(embedding_seconds(model, recipe.preprocess)),
    )
