"""`diptych-train evaluate`: measure a run or a bundle on held-out sources, and write what was measured."""

import argparse
from pathlib import Path

from tqdm import tqdm

from diptych.bundle.repository import ModelRepository
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.figure import draw_evaluation
from diptych_training.evaluate.floors import pixel_floors
from diptych_training.evaluate.measure import evaluate
from diptych_training.evaluate.results import Evaluation
from diptych_training.evaluate.subject import DEFAULT_PROMPTS, Subject, bundle_subject, run_subject
from diptych_training.evaluate.table import evaluation_tables
from diptych_training.paths import data_dir, model_repo, run_dir


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "evaluate",
        help="zero-shot and retrieval of a run or a bundle, as tables, JSON and PNG",
        description="Measures zero-shot top-1/top-5 and retrieval Recall@1/5/10 on every source of a split.",
    )
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        "--run", type=run_dir, metavar="RUN", dest="run_dir", help="name or folder of a run, through torch"
    )
    subject.add_argument(
        "--bundle", metavar="NAME[/V]", help="a bundle, through onnxruntime; the latest version if not named"
    )
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of the run")
    parser.add_argument("--precision", default="fp32", help="precision of the bundle")
    parser.add_argument(
        "--model-repo", type=Path, default=model_repo(), metavar="DIR", help="DIPTYCH_MODEL_REPO"
    )
    parser.add_argument("--data", type=Path, default=data_dir(), metavar="DIR", help="DIPTYCH_DATA")
    parser.add_argument("--split", choices=("eval", "validation"), default="eval")
    parser.add_argument("--prompts", default=DEFAULT_PROMPTS, metavar="SET", help="template set of the model")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: <run>/evaluation-<split>, or ./evaluation-<split>"
    )
    parser.add_argument(
        "--no-floors",
        action="store_true",
        help="do not look up nearest training images where floors are unknown",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, and write evaluation.md, evaluation.json and evaluation.png."""
    if args.batch_size < 1:
        raise EvaluationError(f"--batch-size is {args.batch_size}, it must be at least 1")
    dataset = read_dataset(args.data)
    subject = _subject(args)
    n_images = sum(entry.n for _, entry in dataset.listed(args.split))
    with tqdm(total=n_images, unit="image", desc=subject.name) as progress:
        result = evaluate(subject, dataset, args.split, progress.update, args.batch_size)
    if not args.no_floors:
        result = result.with_pixel_floors(_missing_floors(dataset, args.split))
    out = args.out or (args.run_dir or Path()) / f"evaluation-{args.split}"
    print(evaluation_tables(result))
    for path in write_evaluation(result, out):
        print(path)
    return 0


def write_evaluation(result: Evaluation, out: Path) -> list[Path]:
    """Write the tables, the data and the picture into `out`; returns the three paths."""
    out.mkdir(parents=True, exist_ok=True)
    tables, data, picture = (out / f"evaluation.{suffix}" for suffix in ("md", "json", "png"))
    tables.write_text(evaluation_tables(result), encoding="utf-8")
    data.write_text(result.model_dump_json(indent=1), encoding="utf-8")
    draw_evaluation(result, picture)
    return [tables, data, picture]


def _missing_floors(dataset: PackedDataset, split: str) -> dict[str, float]:
    """Pixel floors of the sources for which the data set states none."""
    unknown = [(name, entry) for name, entry in dataset.listed(split) if entry.pixel_1nn_top1 is None]
    sources = [dataset.source(name) for name, _ in unknown]
    with tqdm(total=sum(entry.n for _, entry in unknown), unit="image", desc="pixel floors") as progress:
        return pixel_floors(dataset, sources, progress.update)


def _subject(args: argparse.Namespace) -> Subject:
    if args.run_dir is not None:
        return run_subject(args.run_dir, args.which, args.prompts)
    repository = ModelRepository(args.model_repo)
    name, _, version = args.bundle.partition("/")
    if version and not version.isdecimal():
        raise EvaluationError(f"--bundle {args.bundle}: the version is {version!r}, it must be a number")
    number = int(version) if version else repository.latest(name)
    return bundle_subject(repository, name, number, precision=args.precision, prompts=args.prompts)
