"""`diptych-train benchmark`: measure runs and bundles on many data sets, and compare them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.bundle.manifest import MANIFEST_FILE
from diptych.bundle.repository import ModelRepository
from diptych.errors import NotFound
from diptych_training.benchmark.data_sets.data_set import DataSet
from diptych_training.benchmark.data_sets.find import default_names, find_data_sets
from diptych_training.benchmark.data_sets.known import all_known
from diptych_training.benchmark.features import FeatureCache
from diptych_training.benchmark.measure import Plan, is_current, measure
from diptych_training.benchmark.results import Result, read_result, result_file, write_result
from diptych_training.benchmark.table import benchmark_tables
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.evaluated_model import (
    DEFAULT_PROMPTS,
    EvaluatedModel,
    load_evaluated_bundle,
    load_evaluated_run,
    named_bundle,
)
from diptych_training.evaluate.table import markdown_table
from diptych_training.evaluate.zero_shot import cached_classifier
from diptych_training.files import write_text
from diptych_training.paths import cache_dir, data_dir, if_missing, model_repo, run_dir, runs_dir
from diptych_training.progress import progress_bar
from diptych_training.run_folder import RunFolder

TABLES_FILE, RESULTS_FOLDER = "benchmark.md", "results"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "benchmark",
        help="zero-shot over many data sets, with and without prompts, and retrieval",
        description="Measures each model on each data set, one JSON file each. Results that are there "
        "already are kept: after an interruption, the same command continues.",
    )
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="a run by its name or path, or a bundle NAME[/V]; several are compared",
    )
    parser.add_argument(
        "--on",
        action="append",
        default=[],
        metavar="SET",
        help="pictograms (the sources of --data), digits, or [NAME=]FOLDER: class folders, WebDataset shards "
        "as CLIP_benchmark exports them, a packed data set, or pairs; NAME may be of --known; may be given "
        f"several times; default: {' and '.join(default_names())}",
    )
    parser.add_argument("--known", action="store_true", help="list the data sets that are known by name")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmark"),
        metavar="DIR",
        help="for the tables; default: ./benchmark",
    )
    parser.add_argument(
        "--json", type=Path, metavar="DIR", help=f"for the results; default: <out>/{RESULTS_FOLDER}"
    )
    parser.add_argument("--runs-dir", type=Path, default=runs_dir(), metavar="DIR", help="DIPTYCH_RUNS_DIR")
    parser.add_argument(
        "--which", choices=("best", "last", "start"), default="best", help="checkpoint of the runs"
    )
    parser.add_argument("--precision", default="fp32", help="precision of the bundles")
    parser.add_argument(
        "--model-repo", type=Path, default=model_repo(), metavar="DIR", help="DIPTYCH_MODEL_REPO"
    )
    parser.add_argument("--data", type=Path, default=data_dir(), metavar="DIR", help="DIPTYCH_DATA")
    parser.add_argument("--split", choices=("eval", "validation"), default="eval", help="of packed data sets")
    parser.add_argument(
        "--prompts",
        default=DEFAULT_PROMPTS,
        metavar="SET",
        help="template set of the models, for data sets without templates",
    )
    parser.add_argument("--batch-size", type=int, default=128)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure what is missing, then print and write the tables."""
    if args.known:
        print(known_table())
        return 0
    if not args.models:
        raise EvaluationError("name a model: a run, or a bundle NAME[/V]")
    if args.batch_size < 1:
        raise EvaluationError(f"--batch-size is {args.batch_size}, it must be at least 1")
    data_sets = find_data_sets(args.on or default_names(), args.data, args.split)
    results: list[Result] = []
    for named in args.models:
        results += _measure_all(_model(args, named), data_sets, args)
    tables = args.out / TABLES_FILE
    write_text(tables, benchmark_tables(results))
    print(benchmark_tables(results))
    print(tables)
    return 0


def known_table() -> str:
    """The data sets that are known by name, as a table."""
    rows = [
        [name, facts.title, facts.metric, str(facts.n_classes or "–"), "listed" if facts.classes else "read"]
        for name, facts in all_known().items()
    ]
    return markdown_table(["name", "title", "metric", "classes", "their names are"], rows, n_words=3)


def _measure_all(
    model: EvaluatedModel, data_sets: Sequence[DataSet], args: argparse.Namespace
) -> list[Result]:
    """Results of one model, stored ones where they are of this model and data."""
    folder = args.json or args.out / RESULTS_FOLDER
    classifier = cached_classifier(model.encoder, model.tokenizer)
    plan, results = Plan(), []
    n_pictures = sum(len(one.test.pictures) for one in data_sets)
    with progress_bar(total=n_pictures, unit="image", desc=model.name) as progress:
        features = FeatureCache(cache_dir() / "features", args.batch_size, progress.update)
        for data_set in data_sets:
            progress.set_postfix_str(data_set.name)
            file = result_file(folder, model.name, data_set.name)
            stored = read_result(file)
            if stored is not None and is_current(stored, model, data_set, plan):
                progress.update(len(data_set.test.pictures))
            else:
                stored = measure(model, data_set, plan, classifier, features)
                write_result(file, stored)
            results.append(stored)
    return results


def _model(args: argparse.Namespace, named: str) -> EvaluatedModel:
    """A run, if there is one of this name, or else a bundle."""
    folder = run_dir(named, args.runs_dir)
    if RunFolder(folder).model_file.is_file() and not (folder / MANIFEST_FILE).is_file():
        return load_evaluated_run(folder, args.which, args.prompts, last_by="--which last")
    repository = ModelRepository(args.model_repo)
    try:
        name, version = named_bundle(repository, named)
    except NotFound as error:
        raise EvaluationError(
            f"{named} is no run in {args.runs_dir}, and no bundle: {error}{if_missing(args.model_repo)}"
        ) from error
    return load_evaluated_bundle(repository, name, version, precision=args.precision, prompts=args.prompts)
