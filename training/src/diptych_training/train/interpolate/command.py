"""`diptych-train interpolate`: mix a fine-tuned run with its original, measure the mixes, keep one."""

import argparse
from pathlib import Path

from torch import Tensor

from diptych_training.checkpoint import TrainedRun, load_run, write_atomic
from diptych_training.config import StartConfig
from diptych_training.data.packed import PackedDataset, Split, read_dataset
from diptych_training.errors import TrainingConfigError
from diptych_training.evaluate.comparison import Task, without_source
from diptych_training.evaluate.evaluated_model import evaluated_run
from diptych_training.evaluate.measure import evaluate
from diptych_training.evaluate.results import Evaluation
from diptych_training.flags import add_model_repo_flag, add_runs_dir_flag
from diptych_training.importing.source_model import SourceModel, open_source_model
from diptych_training.paths import RUN_HELP, data_dir, run_dir
from diptych_training.progress import progress_bar
from diptych_training.run_folder import RunFolder
from diptych_training.train.interpolate.interpolation import (
    AlphaResult,
    interpolate_weights,
    interpolation_table,
    write_mixed_run,
)

ALPHAS = "0,0.25,0.5,0.75,1"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "interpolate",
        help="mix a fine-tuned run with its original, measure the mixes, keep one",
        description="WiSE-FT: interpolates between the weights that a run started from (alpha 0) and its own "
        "(alpha 1), and measures them on the new task and on old ones; --write keeps one as a run to export.",
    )
    parser.add_argument("--run", required=True, metavar="RUN", dest="run_dir", help=RUN_HELP)
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of the run")
    parser.add_argument(
        "--original",
        metavar="MODEL",
        help="NAME/VERSION of the repository, or a run; default: the model that the run started from",
    )
    parser.add_argument(
        "--alphas", default=ALPHAS, metavar="LIST", help=f"alphas to measure (default {ALPHAS})"
    )
    parser.add_argument("--write", type=float, metavar="ALPHA", help="write this mix as the run --name")
    parser.add_argument("--name", help="name of the run that --write creates")
    parser.add_argument(
        "--data", type=Path, default=data_dir(), metavar="DIR", help="data set of the new task (DIPTYCH_DATA)"
    )
    parser.add_argument(
        "--also-on",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="data set of an old task; may be given more than once",
    )
    parser.add_argument(
        "--split",
        choices=("eval", "validation"),
        default="validation",
        help="choose alpha on validation; report the chosen one on eval",
    )
    add_runs_dir_flag(parser)
    add_model_repo_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure every alpha and print the table; with --write, only create the run."""
    args.run_dir = run_dir(args.run_dir, args.runs_dir)
    tuned = load_run(args.run_dir, args.which, last_by="--which last")
    source_model = (
        None
        if args.original is None
        else open_source_model(StartConfig(source=args.original), args.runs_dir, args.model_repo)
    )
    original = _original(args) if source_model is None else source_model.weights(tuned.model_config)
    if args.write is not None:
        print(_write(args, tuned, original, source_model))
        return 0
    weights = {name: tensor.clone() for name, tensor in tuned.model.state_dict().items()}
    new = read_dataset(args.data)
    tasks: list[tuple[Task, PackedDataset]] = [("new", new)]
    tasks += [("old", without_source(read_dataset(path), new.name)) for path in args.also_on]
    results = []
    for alpha in _alphas(args.alphas):
        tuned.model.load_state_dict(interpolate_weights(original, weights, alpha))
        measured = [(task, _measure(tuned, alpha, dataset, args.split)) for task, dataset in tasks]
        results.append(AlphaResult(alpha, tuple(measured)))
    table = interpolation_table(results)
    out = args.run_dir / f"interpolation-{args.split}.md"
    write_atomic(out, f"{table}\n".encode())
    print(table)
    print(out)
    return 0


def _original(args: argparse.Namespace) -> dict[str, Tensor]:
    """The weights that the run started from."""
    if not RunFolder(args.run_dir).start.is_file():
        raise TrainingConfigError(
            f"{args.run_dir} started from random weights: pass --original with the model to mix with"
        )
    return dict(load_run(args.run_dir, "start").model.state_dict())


def _alphas(given: str) -> list[float]:
    """The alphas in ascending order; 0, the baseline of the comparison, is always included."""
    try:
        alphas = {float(part) for part in given.split(",")}
    except ValueError as error:
        raise TrainingConfigError(f"--alphas {given}: must be numbers separated by commas") from error
    return sorted(alphas | {0.0})


def _measure(run: TrainedRun, alpha: float, dataset: PackedDataset, split: Split) -> Evaluation:
    evaluated = evaluated_run(run, f"alpha {alpha:g}")
    n_images = sum(entry.n for _, entry in dataset.listed(split))
    with progress_bar(total=n_images, unit="image", desc=f"{evaluated.name}, {dataset.name}") as progress:
        return evaluate(evaluated, dataset, split, progress.update)


def _write(
    args: argparse.Namespace, tuned: TrainedRun, original: dict[str, Tensor], source_model: SourceModel | None
) -> object:
    """Write the mix as a run of its own."""
    if args.name is None:
        raise TrainingConfigError("--write creates a run: pass its name with --name")
    mixed_with = {} if source_model is None else {source_model.title: source_model.licence}
    return write_mixed_run(args.runs_dir / args.name, tuned, original, args.write, mixed_with)
