"""`diptych-train train`: train a model by a recipe, or resume a run."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from diptych.bundle.repository import SHIPPED_NAME, ModelRepository
from diptych.errors import InvalidValue
from diptych_training.config import Tables, TrainConfig, model_tables, read_config, start_of
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.errors import TooFewSamples, TrainingConfigError
from diptych_training.evaluate.proof_set.file import default_proof_set_file
from diptych_training.evaluate.proof_set.proof_data import require_drawable
from diptych_training.evaluate.proof_set.samples import shortage
from diptych_training.export.run_export import RunExport, publish_run, require_publishable
from diptych_training.flags import (
    add_data_flag,
    add_device_flag,
    add_model_repo_flag,
    add_overrides_flag,
    add_runs_dir_flag,
)
from diptych_training.importing.source_model import SourceModel, open_source_model
from diptych_training.paths import recipe_file, shipped_recipes
from diptych_training.progress import Reporter
from diptych_training.push import add_push_flag, environment_key, push_and_report, require_server
from diptych_training.run_folder import RunFolder
from diptych_training.train.align.start import open_drawings
from diptych_training.train.teachers import open_teachers
from diptych_training.train.train_run import train_run

INTERRUPTED = 130


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    shipped = ", ".join(shipped_recipes())
    parser = subparsers.add_parser("train", help="train a model", description="Train a model by a recipe.")
    parser.add_argument(
        "config", metavar="CONFIG", help=f"a TOML file, or the name of a shipped recipe ({shipped})"
    )
    parser.add_argument("--name", help="name of the run; the recipe's own if left out")
    add_runs_dir_flag(parser)
    add_data_flag(parser, "a packed data set")
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="train this model further instead of a new one: NAME/VERSION of the repository, a run, or a "
        "checkpoint of open_clip, transformers or OpenAI (`start` in the recipe)",
    )
    add_model_repo_flag(parser, "where --start and distill.teachers look for models, and --publish writes")
    parser.add_argument(
        "--publish",
        metavar="NAME",
        help="export the finished run as the next version of this model, as `export --name NAME` would",
    )
    add_push_flag(parser)
    parser.add_argument("--resume", action="store_true", help="continue from the run's last checkpoint")
    add_overrides_flag(parser)
    add_device_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, publish and push. Returns 0 at the end, 130 if a signal stopped the run after a checkpoint."""
    _require_valid(args)
    config, source_model = open_recipe(
        args.config, args.overrides, args.name, args.start,
        runs_dir=args.runs_dir, model_repo=args.model_repo, resume=args.resume,
    )  # fmt: skip
    if args.publish is not None and config.predictive is not None:
        raise InvalidValue(
            f"--publish: objective is {config.predictive.kind}, which has no text tower: it cannot be served"
        )
    dataset = read_dataset(args.data)
    if args.runs_dir.is_file():
        raise TrainingConfigError(f"--runs-dir {args.runs_dir} is a file: it must be a folder")
    folder = RunFolder(args.runs_dir / config.name)
    if args.publish is not None:
        _require_proof(config, dataset, folder, source_model, args.model_repo)
    report = partial(print, flush=True)
    is_done = train_run(
        config,
        dataset,
        folder.path,
        source_model,
        open_teachers=partial(open_teachers, config, args.runs_dir, args.model_repo),
        open_drawings=partial(open_drawings, config, args.runs_dir, args.model_repo),
        resume=args.resume,
        device=args.device,
        report=report,
        before_first_step=partial(_warn_of_shortage, config, dataset, folder, args.model_repo),
    )
    if is_done and args.publish is not None and os.environ.get("RANK", "0") == "0":
        _publish(args, folder, dataset, report)
    return 0 if is_done else INTERRUPTED


def _require_valid(args: argparse.Namespace) -> None:
    """Check before the first step what is needed after the last.

    Raises InvalidValue for a name that is invalid, not writable, or that of the default model, and for
    --push without --publish; PushFailed if the server cannot be reached.
    """
    if args.publish is None:
        if args.push is not None:
            raise InvalidValue("--push needs --publish: it names the model to publish and push")
        return
    require_publishable("--publish", args.publish, args.model_repo)
    if args.publish == SHIPPED_NAME:
        raise InvalidValue(
            f"--publish {args.publish}: the name is kept for the default model, whose versions come with "
            "diptych: publish under a name of your own"
        )
    if args.push is not None:
        require_server(args.publish, args.push, environment_key())


def _publish(args: argparse.Namespace, folder: RunFolder, dataset: PackedDataset, report: Reporter) -> None:
    """Publish the run, proven on its data set if that has enough, unless its start brought a proof set."""
    data = None if folder.proof_set_file.is_file() or shortage(dataset) is not None else args.data
    version = publish_run(RunExport(folder.path, args.publish, data=data), args.model_repo, report)
    published = ModelRepository(args.model_repo).folder(args.publish, version)
    report(str(published))
    if args.push is not None:
        push_and_report(published, args.push)


def _require_proof(
    config: TrainConfig,
    dataset: PackedDataset,
    folder: RunFolder,
    source_model: SourceModel | None,
    model_repo: Path,
) -> None:
    """Raise TooFewSamples if there is nothing to prove an export on: no proof set of the model that the run
    starts from or of the default model, and too few held-out images in the data set.

    Raises DataError if photographs for a proof set of its own are missing.
    """
    kept = folder.proof_set_file if source_model is None else source_model.proof_set
    if kept is None or not kept.is_file():
        require_drawable(config.model.image, dataset)
    lack = _lack(dataset, kept, model_repo)
    if lack is not None:
        raise TooFewSamples(f"--publish: {lack}")


def _warn_of_shortage(
    config: TrainConfig, dataset: PackedDataset, folder: RunFolder, model_repo: Path
) -> None:
    """Warn if there is nothing to prove an export of the run on; a run without a text tower has none."""
    if config.predictive is not None:
        return
    warning = _lack(dataset, folder.proof_set_file, model_repo)
    if warning is not None:
        print(f"warning: {warning}", file=sys.stderr, flush=True)


def _lack(dataset: PackedDataset, kept: Path | None, model_repo: Path) -> str | None:
    """Why an export cannot be proven; None if there are enough held-out images or any proof set."""
    has_kept = kept is not None and kept.is_file()
    if has_kept or default_proof_set_file(ModelRepository(model_repo)) is not None:
        return None
    return shortage(dataset)


def open_recipe(
    recipe: str,
    overrides: Sequence[str] = (),
    name: str | None = None,
    start: str | None = None,
    *,
    runs_dir: Path,
    model_repo: Path,
    resume: bool,
) -> tuple[TrainConfig, SourceModel | None]:
    """Read a recipe by name or file, and open the model that a new run starts from; a resumed run has that
    model in its folder.
    """
    found: list[SourceModel] = []

    def start_tables(values: Tables) -> Tables:
        ran = RunFolder(runs_dir / str(values.get("name"))).config_file
        if resume and ran.is_file():
            return model_tables(read_config(ran))
        found.append(open_source_model(start_of(values), runs_dir, model_repo))
        return found[0].tables

    config = read_config(recipe_file(recipe), overrides, name, start, start_tables)
    return config, found[0] if found else None
