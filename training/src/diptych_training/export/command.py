"""`diptych-train export`: publish a run as the next version of a model, after proving its files."""

import argparse
import tempfile
from contextlib import suppress
from itertools import chain
from pathlib import Path

from diptych.bundle.repository import ModelRepository
from diptych.errors import BundleError, NotFound
from diptych_training.checkpoint import TrainedRun, load_run
from diptych_training.evaluate.results import CONFUSIONS_FILE, read_evaluation
from diptych_training.export.add_proof_set import add_proof_set
from diptych_training.export.manifest import ExportOptions
from diptych_training.export.model_card.assets import CardAssets
from diptych_training.export.model_card.licence import UNKNOWN
from diptych_training.export.precisions import parse_precisions
from diptych_training.export.proof.samples import N_PARITY_IMAGES, count_sample
from diptych_training.export.proof_data import VERSION, choose_proof_data
from diptych_training.export.publish import export_run
from diptych_training.export.tensorrt.publish import export_plans, require_tensorrt
from diptych_training.export.tensorrt.reference import n_proof_images
from diptych_training.export.tensorrt.request import add_flags, plan_request
from diptych_training.paths import RUN_HELP, data_dir, model_repo, run_dir, runs_dir
from diptych_training.run_folder import RunFolder
from diptych_training.stages import report_progress

NO_PROOF_SET = (
    "the version has no proof set: its data are not openly licensed drawings, and {model_repo} has no "
    "version of pictograms with one"
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "export",
        help="publish a run as the next version of a model",
        description="Writes ONNX graphs, proves them against the torch model, and publishes them atomically.",
    )
    parser.add_argument(
        "--run",
        metavar="RUN",
        dest="run_dir",
        help=RUN_HELP,
    )
    parser.add_argument("--runs-dir", type=Path, default=runs_dir(), metavar="DIR", help="DIPTYCH_RUNS_DIR")
    parser.add_argument("--name", required=True, help="name of the model in the repository")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of the run")
    parser.add_argument(
        "--model-repo", type=Path, default=model_repo(), metavar="DIR", help="DIPTYCH_MODEL_REPO"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="held-out images for the proof; default: the proof set of the model that the run started from, "
        "else DIPTYCH_DATA",
    )
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="FILE",
        help="evaluation.json of this run and checkpoint; its numbers, and the confusions.png beside it, go "
        "into manifest and card",
    )
    parser.add_argument(
        "--precisions",
        metavar="LIST",
        help="such as fp32,int8,fp16; fp32 is always included. Default: the precisions of the version that "
        "the run started from, and of the newest version of --name",
    )
    parser.add_argument(
        "--no-optimise",
        action="store_true",
        help="publish the graphs as they were exported, without rewrites",
    )
    parser.add_argument(
        "--half-weights",
        action="store_true",
        help="store weights as float16, in the float32 graphs too, at half the size; they compute in float32",
    )
    parser.add_argument(
        "--licence",
        help="licence of the weights; default: the strictest licence recorded for the training data, "
        f"{UNKNOWN} if one is not recorded",
    )
    parser.add_argument(
        "--ungated",
        action="store_true",
        help="publish even if the files do not match the model; servers refuse such a version by default",
    )
    parser.add_argument(
        "--add-proof-set",
        action="store_true",
        help="publish --from-version again with the same files and a proof set drawn from --data",
    )
    add_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export the run; print the parity table and the version's folder; then build TensorRT plans if asked."""
    args.run_dir = None if args.run_dir is None else run_dir(args.run_dir, args.runs_dir)
    plans = plan_request(args)
    repository = ModelRepository(args.model_repo)
    if args.add_proof_set:
        version = add_proof_set(repository, args.name, args.from_version, args.data or data_dir())
        print(repository.folder(args.name, version))
        return 0
    if plans is not None:
        require_tensorrt()  # raises before an hour of other work
    version = args.from_version or _export(args, repository)
    if plans is not None:
        n_images = n_proof_images(repository.manifest(args.name, version)) * (1 + len(plans.precisions))
        with report_progress(n_images, "parity") as reporter:
            version = export_plans(repository, (args.name, version), plans, reporter, data=args.data)
        print(repository.folder(args.name, version))
    return 0


def _export(args: argparse.Namespace, repository: ModelRepository) -> int:
    trained = load_run(args.run_dir, args.which, last_by="--which last")
    options = ExportOptions(
        name=args.name,
        checkpoint=args.which,
        licence=args.licence,
        ungated=args.ungated,
        evaluation=None if args.evaluation is None else read_evaluation(args.evaluation),
        precisions=_precisions(args, trained, repository),
        optimise=not args.no_optimise,
        half_weights=args.half_weights,
        assets=_card_assets(args),
    )
    with tempfile.TemporaryDirectory(prefix="diptych-proof-") as scratch:
        data = choose_proof_data(trained, args.data, repository, Path(scratch))
        if data.proof_set is None:
            print(NO_PROOF_SET.format(model_repo=args.model_repo), flush=True)
        n_images, _ = count_sample(data.dataset, N_PARITY_IMAGES)
        with report_progress(n_images * options.n_embedded, "parity") as reporter:
            version = export_run(
                trained,
                data.dataset,
                repository,
                options,
                reporter,
                calibrated_on=data.calibration,
                proof_set=data.proof_set,
            )
    licence = options.licence_of(trained)
    if licence.name == UNKNOWN and args.licence is None:
        print(f"{licence.sentence()} Pass one with --licence.")
    print(repository.folder(args.name, version))
    return version


def _precisions(
    args: argparse.Namespace, trained: TrainedRun, repository: ModelRepository
) -> tuple[str, ...]:
    """The requested precisions, or else those of earlier versions, which a server may be using."""
    if args.precisions is not None:
        return parse_precisions(args.precisions)
    before = _precisions_before(trained, repository, args.name)
    chosen = parse_precisions(",".join(chain.from_iterable(before.values())))
    for title, precisions in before.items():
        print(f"{title}: {', '.join(precisions) or f'not in {args.model_repo}, its precisions are unknown'}")
    if before:
        print(f"this export makes {', '.join(chosen)}; choose others with --precisions", flush=True)
    return chosen


def _precisions_before(run: TrainedRun, repository: ModelRepository, name: str) -> dict[str, tuple[str, ...]]:
    """Precisions of the version that the run started from and of the newest version of `name`, by title.

    Empty for a version that the repository does not have or cannot read.
    """
    started_from = [] if run.provenance is None else [*run.provenance.started_from]
    titles = [title for title in started_from if VERSION.fullmatch(title)]
    with suppress(NotFound, BundleError):  # the first version of this name
        titles.append(f"{name}/{repository.latest_portable(name)}")
    return {title: _precisions_of(repository, title) for title in titles}


def _precisions_of(repository: ModelRepository, title: str) -> tuple[str, ...]:
    name, number = title.split("/")
    try:
        return tuple(repository.manifest(name, int(number)).precisions)
    except (NotFound, BundleError):
        return ()


def _card_assets(args: argparse.Namespace) -> CardAssets:
    """The run's curves, and the confusions beside the evaluation."""
    confusions = None if args.evaluation is None else args.evaluation.with_name(CONFUSIONS_FILE)
    return CardAssets(
        curves=_existing(RunFolder(args.run_dir).curves_file),
        confusions=None if confusions is None else _existing(confusions),
    )


def _existing(file: Path) -> Path | None:
    return file if file.is_file() else None
