"""`diptych-train benchmark`: measure runs and bundles on many data sets, and compare them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.bundle.manifest import MANIFEST_FILE, ImageSpec
from diptych.bundle.repository import ModelRepository
from diptych.errors import NotFound
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet
from diptych_training.evaluate.benchmark.data_sets.find import default_names, find_data_sets
from diptych_training.evaluate.benchmark.data_sets.known import all_known
from diptych_training.evaluate.benchmark.features import FeatureCache
from diptych_training.evaluate.benchmark.measure import (
    MeasureSettings,
    Model,
    is_current,
    measure,
    pictures_of,
)
from diptych_training.evaluate.benchmark.report import Picture, benchmark_report
from diptych_training.evaluate.benchmark.results import Result, result_file, write_result
from diptych_training.evaluate.evaluated_model import (
    DEFAULT_PROMPTS,
    EvaluatedModel,
    load_evaluated_bundle,
    named_bundle,
    open_evaluated_run,
)
from diptych_training.evaluate.zero_shot import cached_classifier
from diptych_training.files import write_text
from diptych_training.flags import add_data_flag, add_model_repo_flag, add_runs_dir_flag
from diptych_training.paths import cache_dir, if_missing, run_dir
from diptych_training.progress import progress_bar
from diptych_training.reports.markdown import markdown_table
from diptych_training.run_folder import RunFolder
from diptych_training.schema import find_record

TABLES_FILE, PAGE_FILE, RESULTS_FOLDER = "benchmark.md", "benchmark.html", "results"
SHOWN = ImageSpec(  # how pictures are shown: whole, on white
    size=96, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic", resize_mode="longest",
    fill_color=(255, 255, 255), crop="round", alpha="white",
)  # fmt: skip


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "benchmark",
        help="zero-shot, probes and retrieval on many data sets, as a page",
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
        help="for page and tables; default: ./benchmark",
    )
    parser.add_argument(
        "--json", type=Path, metavar="DIR", help=f"for the results; default: <out>/{RESULTS_FOLDER}"
    )
    add_runs_dir_flag(parser)
    parser.add_argument(
        "--which", choices=("best", "last", "start"), default="best", help="checkpoint of the runs"
    )
    parser.add_argument("--precision", default="fp32", help="precision of the bundles")
    add_model_repo_flag(parser)
    add_data_flag(parser)
    parser.add_argument("--split", choices=("eval", "validation"), default="eval", help="of packed data sets")
    parser.add_argument(
        "--prompts",
        default=DEFAULT_PROMPTS,
        metavar="SET",
        help="template set of the models, for data sets without templates",
    )
    parser.add_argument(
        "--pictures",
        type=int,
        metavar="N",
        help="at most so many test pictures of each data set, drawn once for all models; default: all",
    )
    parser.add_argument(
        "--no-probes", action="store_true", help="leave out linear and few-shot probes, which take longest"
    )
    parser.add_argument(
        "--shots", default="1,2,4,8,16", metavar="K[,K]", help="examples a class of few-shot probes"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="draws of each number of shots")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure what is missing, then print the tables and write them and the page."""
    if args.known:
        print(known_table())
        return 0
    if not args.models:
        raise EvaluationError("name a model: a run, or a bundle NAME[/V]")
    if args.batch_size < 1:
        raise EvaluationError(f"--batch-size is {args.batch_size}, it must be at least 1")
    if args.pictures is not None and args.pictures < 1:
        raise EvaluationError(f"--pictures is {args.pictures}, it must be at least 1")
    plan = _plan(args)
    data_sets = find_data_sets(args.on or default_names(), args.data, args.split)
    if args.pictures is not None:
        data_sets = [one.sampled(args.pictures) for one in data_sets]
    results: list[Result] = []
    for named in args.models:
        results += _measure_all(_model(args, named), data_sets, plan, args)
    report = benchmark_report(results, _picture_finder(data_sets))
    tables, page = args.out / TABLES_FILE, args.out / PAGE_FILE
    print(report.markdown())
    write_text(tables, report.markdown())
    write_text(page, report.page())
    print(tables, page, sep="\n")
    return 0


def _picture_finder(data_sets: Sequence[DataSet]) -> Picture:
    pictures = {one.name: one.test.pictures for one in data_sets}
    return lambda name, index: pictures[name].prepared(index, SHOWN)


def _plan(args: argparse.Namespace) -> MeasureSettings:
    """Raises EvaluationError naming the flag."""
    if args.seeds < 1:
        raise EvaluationError(f"--seeds is {args.seeds}, it must be at least 1")
    shots = args.shots.split(",")
    if not all(one.strip().isdecimal() and int(one) > 0 for one in shots):
        raise EvaluationError(f"--shots is {args.shots}, it must be numbers such as 1,2,4")
    return MeasureSettings(probes=not args.no_probes, shots=tuple(sorted(map(int, shots))), seeds=args.seeds)


def known_table() -> str:
    """The data sets that are known by name, as a table."""
    rows = [
        [name, facts.title, facts.metric, str(facts.n_classes or "–"), "listed" if facts.classes else "read"]
        for name, facts in all_known().items()
    ]
    return markdown_table(["name", "title", "metric", "classes", "their names are"], rows, n_words=3)


def _measure_all(
    model: Model, data_sets: Sequence[DataSet], plan: MeasureSettings, args: argparse.Namespace
) -> list[Result]:
    """Results of one model, stored ones where they are of this model and data."""
    folder = args.json or args.out / RESULTS_FOLDER
    classifier = (
        cached_classifier(model.encoder, model.tokenizer) if isinstance(model, EvaluatedModel) else None
    )
    results = []
    sizes = {one.name: sum(map(len, pictures_of(one, plan))) for one in data_sets}
    with progress_bar(total=sum(sizes.values()), unit="image", desc=model.name) as progress:
        features = FeatureCache(cache_dir() / "features", args.batch_size, progress.update)
        for data_set in data_sets:
            progress.set_postfix_str(data_set.name)
            file = result_file(folder, model.name, data_set.name)
            stored = find_record(file, Result)
            if stored is not None and is_current(stored, model, data_set, plan):
                progress.update(sizes[data_set.name])
            else:
                stored = measure(model, data_set, plan, classifier, features)
                write_result(file, stored)
            results.append(stored)
    return results


def _model(args: argparse.Namespace, named: str) -> Model:
    """A run, if there is one of this name, or else a bundle."""
    folder = run_dir(named, args.runs_dir)
    if RunFolder(folder).model_file.is_file() and not (folder / MANIFEST_FILE).is_file():
        return open_evaluated_run(folder, args.which, args.prompts, last_by="--which last")
    repository = ModelRepository(args.model_repo)
    try:
        name, version = named_bundle(repository, named)
    except NotFound as error:
        raise EvaluationError(
            f"{named} is no run in {args.runs_dir}, and no bundle: {error}{if_missing(args.model_repo)}"
        ) from error
    return load_evaluated_bundle(repository, name, version, precision=args.precision, prompts=args.prompts)
