"""`diptych-train evaluate`: measure a run or a bundle on held-out sources, and write the results."""

import argparse
from pathlib import Path

from diptych.bundle.manifest import MANIFEST_FILE
from diptych.bundle.repository import ModelRepository
from diptych.errors import NotFound
from diptych_training.checkpoint import write_atomic
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.comparison import (
    Comparison,
    Measured,
    Task,
    comparison_tables,
    require_different_data,
    without_source,
)
from diptych_training.evaluate.confusion_report import ConfusionCollector
from diptych_training.evaluate.evaluated_model import (
    DEFAULT_PROMPTS,
    EvaluatedModel,
    ScoredModel,
    load_evaluated_bundle,
    load_evaluated_run,
    named_bundle,
    open_evaluated_run,
)
from diptych_training.evaluate.figure import draw_evaluation
from diptych_training.evaluate.floors import pixel_floors
from diptych_training.evaluate.measure import SourceObserver, evaluate, ignore_source
from diptych_training.evaluate.results import CONFUSIONS_FILE, Evaluation
from diptych_training.evaluate.table import evaluation_tables
from diptych_training.files import write_text
from diptych_training.flags import add_data_flag, add_model_repo_flag, add_runs_dir_flag
from diptych_training.paths import RUN_HELP, if_missing, run_dir
from diptych_training.progress import progress_bar
from diptych_training.run_folder import RunFolder


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "evaluate",
        help="zero-shot and retrieval of a run or a bundle, as tables, JSON and PNG",
        description="Measures zero-shot top-1/top-5 and retrieval Recall@1/5/10 on every source of a split.",
    )
    model_group = parser.add_mutually_exclusive_group(required=True)
    model_group.add_argument("--run", metavar="RUN", dest="run_dir", help=f"{RUN_HELP}; through torch")
    model_group.add_argument(
        "--bundle", metavar="NAME[/V]", help="a bundle, through onnxruntime; by default the latest version"
    )
    add_runs_dir_flag(parser)
    parser.add_argument(
        "--which",
        choices=("best", "last", "start"),
        default="best",
        help="checkpoint of the run; start: the weights that it started from",
    )
    parser.add_argument(
        "--compare",
        metavar="OTHER",
        help="measure this too, and show gains and losses against it in one table: a run, "
        "a bundle NAME[/V], or start",
    )
    parser.add_argument(
        "--also-on",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="data set of an old task that --compare measures too; may be given several times",
    )
    parser.add_argument("--precision", default="fp32", help="precision of the bundle")
    add_model_repo_flag(parser)
    add_data_flag(parser)
    parser.add_argument("--split", choices=("eval", "validation"), default="eval")
    parser.add_argument("--prompts", default=DEFAULT_PROMPTS, metavar="SET", help="template set of the model")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: <run>/evaluation-<split>, or ./evaluation-<split>"
    )
    parser.add_argument(
        "--no-floors",
        action="store_true",
        help="do not compute pixel floors that the data set does not state",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables and write them: evaluation.*, or comparison.* for a comparison."""
    args.run_dir = None if args.run_dir is None else run_dir(args.run_dir, args.runs_dir)
    if args.batch_size < 1:
        raise EvaluationError(f"--batch-size is {args.batch_size}, it must be at least 1")
    if args.also_on and args.compare is None:
        raise EvaluationError("--also-on adds data sets to a comparison: it needs --compare")
    model = _evaluated_model(args)
    dataset = read_dataset(args.data)
    out = args.out or (args.run_dir or Path()) / f"evaluation-{args.split}"
    if args.compare is not None:
        paths = _compare(args, model, dataset, out)
    else:
        confusions = ConfusionCollector(model) if isinstance(model, EvaluatedModel) else None
        observe = ignore_source if confusions is None else confusions.collect
        result = _measure(model, dataset, args, observe)
        if not args.no_floors:
            result = result.with_pixel_floors(_missing_floors(dataset, args.split))
        print(evaluation_tables(result))
        paths = write_evaluation(result, out, None if confusions is None else confusions.picture(dataset))
    for path in paths:
        print(path)
    return 0


def _measure(
    model: EvaluatedModel | ScoredModel,
    dataset: PackedDataset,
    args: argparse.Namespace,
    observe: SourceObserver = ignore_source,
) -> Evaluation:
    n_images = sum(entry.n for _, entry in dataset.listed(args.split))
    with progress_bar(total=n_images, unit="image", desc=model.name) as progress:
        return evaluate(model, dataset, args.split, progress.update, args.batch_size, observe=observe)


def _compare(
    args: argparse.Namespace, after: EvaluatedModel | ScoredModel, dataset: PackedDataset, out: Path
) -> list[Path]:
    """Measure both models on all data sets and write the comparison."""
    before = _compared_model(args)
    tasks: list[tuple[Task, PackedDataset]] = [("new", dataset)]
    tasks += [("old", without_source(read_dataset(path), dataset.name)) for path in args.also_on]
    for _, old in tasks[1:]:
        require_different_data(dataset, old, args.split)
    comparison = Comparison(
        measured=tuple(
            Measured(task=task, before=_measure(before, data, args), after=_measure(after, data, args))
            for task, data in tasks
        )
    )
    print(comparison_tables(comparison))
    out.mkdir(parents=True, exist_ok=True)
    tables, numbers = out / "comparison.md", out / "comparison.json"
    write_text(tables, comparison_tables(comparison))
    write_text(numbers, comparison.model_dump_json(indent=1))
    return [tables, numbers]


def write_evaluation(result: Evaluation, out: Path, confusions: bytes | None) -> list[Path]:
    """Write tables, data and pictures into `out`; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    tables, data, picture = (out / f"evaluation.{suffix}" for suffix in ("md", "json", "png"))
    write_text(tables, evaluation_tables(result))
    write_text(data, result.model_dump_json(indent=1))
    draw_evaluation(result, picture)
    confusions_file = out / CONFUSIONS_FILE
    if confusions is None:
        confusions_file.unlink(missing_ok=True)  # of an earlier evaluation
        return [tables, data, picture]
    write_atomic(confusions_file, confusions)
    return [tables, data, picture, confusions_file]


def _missing_floors(dataset: PackedDataset, split: str) -> dict[str, float]:
    """Compute pixel floors of the sources for which the data set states none."""
    unknown = [(name, entry) for name, entry in dataset.listed(split) if entry.pixel_1nn_top1 is None]
    sources = [dataset.source(name) for name, _ in unknown]
    with progress_bar(
        total=sum(entry.n for _, entry in unknown), unit="image", desc="pixel floors"
    ) as progress:
        return pixel_floors(dataset, sources, progress.update)


def _evaluated_model(args: argparse.Namespace) -> EvaluatedModel | ScoredModel:
    if args.run_dir is not None:
        return open_evaluated_run(args.run_dir, args.which, args.prompts, last_by="--which last")
    return _evaluated_bundle(args, args.bundle)


def _compared_model(args: argparse.Namespace) -> EvaluatedModel | ScoredModel:
    """Open the model to compare with: the `start` of the run, another run, or a bundle."""
    if args.compare == "start":
        if args.run_dir is None:
            raise EvaluationError("--compare start: only runs have a start; name the run with --run")
        return load_evaluated_run(args.run_dir, "start", args.prompts)
    other = run_dir(args.compare, args.runs_dir)
    if RunFolder(other).model_file.is_file() and not (other / MANIFEST_FILE).is_file():
        return open_evaluated_run(other, "best", args.prompts)
    return _evaluated_bundle(args, args.compare)


def _evaluated_bundle(args: argparse.Namespace, named: str) -> EvaluatedModel:
    repository = ModelRepository(args.model_repo)
    try:
        name, version = named_bundle(repository, named)
    except NotFound as error:
        raise EvaluationError(f"{error}{if_missing(args.model_repo)}") from error
    return load_evaluated_bundle(repository, name, version, precision=args.precision, prompts=args.prompts)
