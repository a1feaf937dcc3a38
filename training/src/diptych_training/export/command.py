"""Publish a version again as the next one, with a proof set and otherwise the same files."""

import argparse
import hashlib
import shutil
from functools import partial
from pathlib import Path

from diptych.adapters.onnxruntime.tensorrt_provider import require_tensorrt
from diptych.bundle.manifest import MANIFEST_FILE, ManifestDraft
from diptych.bundle.repository import ModelRepository
from diptych.errors import InvalidValue
from diptych_training.data.packed import read_dataset
from diptych_training.errors import ExportError
from diptych_training.evaluate.calibrate.calibrate import calibrate_published
from diptych_training.evaluate.proof_set.draw import draw_proof_set
from diptych_training.evaluate.proof_set.file import PROOF_SET_FILE, write_proof_set
from diptych_training.export.model_card.licence import UNKNOWN
from diptych_training.export.run_export import RunExport, publish_run
from diptych_training.export.tensorrt import compile_version
from diptych_training.flags import add_model_repo_flag, add_runs_dir_flag
from diptych_training.paths import RUN_HELP, data_dir, run_dir
from diptych_training.push import add_push_flag, environment_key, push_and_report, require_server

MADE_FROM = "made_from"  # key of the manifest's `extra`: the version whose vectors are the same


def add_proof_set(repository: ModelRepository, name: str, version: int, data: Path) -> int:
    """Publish the version's files byte for byte, with a proof set drawn from `data`; return its number.

    `extra.made_from` names the version and the sha256 of its manifest. Raises NotFound, CorruptBundle,
    ExportError if it has a proof set, and DataError if `data` has too few openly licensed drawings.
    """
    manifest, folder = repository.verify(name, version), repository.folder(name, version)
    title = f"{name}/{version}"
    if PROOF_SET_FILE in manifest.files:
        raise ExportError(f"{title} has a proof set already")
    proof_set = draw_proof_set(read_dataset(data))
    digest = hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()
    with repository.staging(name) as staged:
        for file in manifest.files:
            shutil.copyfile(folder / file, staged / file)
        write_proof_set(staged / PROOF_SET_FILE, proof_set)
        kept = {key: getattr(manifest, key) for key in ManifestDraft.model_fields}
        made_from = {"version": title, "manifest_sha256": digest}
        draft = ManifestDraft(**{**kept, "extra": {**manifest.extra, MADE_FROM: made_from}})
        return repository.publish(name, staged, draft)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "export",
        help="publish a run as the next version of a model",
        description="Writes ONNX graphs, proves them against the torch model, and publishes them atomically.",
    )
    parser.add_argument("--run", metavar="RUN", dest="run_dir", help=RUN_HELP)
    add_runs_dir_flag(parser)
    parser.add_argument("--name", required=True, help="name of the model in the repository")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of the run")
    add_model_repo_flag(parser)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="held-out images for the proof; default: the proof set of the model that the run started from, "
        "else DIPTYCH_DATA, else the default model's proof set",
    )
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="FILE",
        help="evaluation.json of this run and checkpoint; its numbers, and the confusions.png next to it, go "
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
        action=argparse.BooleanOptionalAction,
        help="store weights as float16, in the float32 graphs too, at half the size; they compute in "
        "float32. Default: as the newest version of --name does",
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
    parser.add_argument(
        "--from-version",
        type=int,
        metavar="N",
        help="this version of --name instead of a run, for --add-proof-set and --tensorrt",
    )
    parser.add_argument(
        "--tensorrt",
        type=Path,
        metavar="DIR",
        help="also compile the graphs with TensorRT for the GPU of this machine, into this folder; servers "
        "build engines of their own (`diptych check --tensorrt`)",
    )
    add_push_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export the run; print the parity table and the version's folder; compile and push it if asked."""
    args.run_dir = None if args.run_dir is None else run_dir(args.run_dir, args.runs_dir)
    _require_a_source(args)
    if args.push is not None:
        require_server(args.name, args.push, environment_key())
    repository = ModelRepository(args.model_repo)
    version = _publish(args, repository)
    if args.push is not None:
        push_and_report(repository.folder(args.name, version), args.push)
    return 0


def _require_a_source(args: argparse.Namespace) -> None:
    """Raises InvalidValue for flags that cannot be combined."""
    if args.add_proof_set:
        if args.run_dir is not None or args.from_version is None:
            raise InvalidValue("--add-proof-set needs --from-version, and not --run")
        if args.tensorrt is not None:
            raise InvalidValue("--add-proof-set compiles nothing: leave out --tensorrt")
    elif args.from_version is not None:
        if args.run_dir is not None or args.tensorrt is None:
            raise InvalidValue("--from-version needs --add-proof-set or --tensorrt, and not --run")
    elif args.run_dir is None:
        raise InvalidValue("--run is required: it names the run to export")


def _publish(args: argparse.Namespace, repository: ModelRepository) -> int:
    if not args.add_proof_set:
        return _export_and_compile(args, repository)
    version = add_proof_set(repository, args.name, args.from_version, args.data or data_dir())
    calibrate_published(repository, args.name, version, partial(print, flush=True))
    print(repository.folder(args.name, version))
    return version


def _export_and_compile(args: argparse.Namespace, repository: ModelRepository) -> int:
    if args.tensorrt is not None:
        require_tensorrt()  # raises before an hour of other work
    version: int = args.from_version or _export(args)
    if args.tensorrt is not None:
        for file in compile_version(
            repository, args.name, version, args.tensorrt, partial(print, flush=True)
        ):
            print(file)
    return version


def _export(args: argparse.Namespace) -> int:
    wanted = RunExport(
        run_dir=args.run_dir,
        name=args.name,
        which=args.which,
        data=args.data,
        evaluation=args.evaluation,
        precisions=args.precisions,
        optimise=not args.no_optimise,
        half_weights=args.half_weights,
        licence=args.licence,
        ungated=args.ungated,
    )
    version = publish_run(wanted, args.model_repo, partial(print, flush=True))
    print(ModelRepository(args.model_repo).folder(args.name, version))
    return version
