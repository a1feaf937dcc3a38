"""`diptych-train import`: make somebody else's checkpoint the next version of a model, with proof."""

import argparse
import os
from functools import partial
from pathlib import Path

from tqdm import tqdm

from diptych.bundle.prompts import prompt_set
from diptych.bundle.repository import ModelRepository
from diptych_training.export.precisions import parse_precisions
from diptych_training.export.stages import Watcher
from diptych_training.importing.proof import N_PROOF_IMAGES
from diptych_training.importing.publish import import_checkpoint
from diptych_training.importing.source import find_source
from diptych_training.importing.statement import ImportStatement
from diptych_training.importing.subject import Choices
from diptych_training.paths import model_repo

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
RESIZE_MODES = ("shortest", "longest", "squash")
ABOUT = """Reads a checkpoint of transformers, open_clip, OpenAI's CLIP or of our own, writes ONNX graphs,
proves them against the original library on real photographs and texts, and publishes them atomically. What
the checkpoint does not say must be said by a flag: nothing is guessed."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser("import", help="serve a checkpoint that others made", description=ABOUT)
    parser.add_argument(
        "source", metavar="SOURCE", help="folder, file of weights, run, bundle, or hub id owner/name@revision"
    )
    parser.add_argument("--name", required=True, help="name of the model in the repository")
    parser.add_argument(
        "--precisions", default="fp32", metavar="LIST", help="such as fp32,int8,fp16; fp32 is always made"
    )
    parser.add_argument(
        "--no-optimise",
        action="store_true",
        help="publish the graphs as they were exported, without rewrites",
    )
    parser.add_argument(
        "--model-repo", type=Path, default=model_repo(), metavar="DIR", help="DIPTYCH_MODEL_REPO"
    )
    parser.add_argument("--prompts", metavar="SET", help="named set of templates that becomes the default")
    parser.add_argument("--licence", help="licence of the weights, where the checkpoint does not say it")
    parser.add_argument("--offline", action="store_true", help="never ask a hub; what was fetched is used")
    _add_proof_flags(parser)
    _add_choices(parser)
    parser.set_defaults(run=run)


def _add_proof_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--proof-images",
        type=_positive,
        default=N_PROOF_IMAGES,
        metavar="N",
        help=f"images of the proof (default {N_PROOF_IMAGES:,}: fewer need --ungated)",
    )
    parser.add_argument(
        "--ungated",
        action="store_true",
        help="publish even what does not follow the original; servers refuse such a version by default",
    )


def _add_choices(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what a checkpoint may leave unsaid")
    group.add_argument("--context-length", type=_positive, metavar="N")
    group.add_argument("--image-size", type=_positive, metavar="PX", help="for models that take any size")
    group.add_argument("--mean", type=_three, metavar="R,G,B")
    group.add_argument("--std", type=_three, metavar="R,G,B")
    group.add_argument("--interpolation", choices=INTERPOLATIONS)
    group.add_argument("--resize-mode", choices=RESIZE_MODES)
    group.add_argument("--architecture", metavar="NAME", help="open_clip's name, such as ViT-B-32-quickgelu")
    group.add_argument("--tokenizer", metavar="SOURCE", help="folder or hub id of a tokenizer")


def run(args: argparse.Namespace) -> int:
    """Import, printing each stage, the parity table and where the version is."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # before any library of the hub is loaded
    statement = ImportStatement(
        name=args.name,
        precisions=parse_precisions(args.precisions),
        n_images=args.proof_images,
        prompts=None if args.prompts is None else prompt_set(args.prompts),
        ungated=args.ungated,
        optimise=not args.no_optimise,
    )
    repository = ModelRepository(args.model_repo)
    find = partial(find_source, args.source, _choices(args))
    n_images = statement.n_images * (1 + len(statement.precisions))  # once for the original
    with tqdm(total=n_images, unit="image", desc="proof") as progress:
        watcher = Watcher(say=progress.write, advance=progress.update)
        version = import_checkpoint(find, repository, statement, watcher)
    print(repository.folder(args.name, version))
    return 0


def _choices(args: argparse.Namespace) -> Choices:
    return Choices(
        context_length=args.context_length,
        image_size=args.image_size,
        mean=args.mean,
        std=args.std,
        interpolation=args.interpolation,
        resize_mode=args.resize_mode,
        architecture=args.architecture,
        tokenizer=args.tokenizer,
        prompts=args.prompts,
        licence=args.licence,
        offline=args.offline,
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return number


def _three(text: str) -> tuple[float, float, float]:
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) != 3:
        raise argparse.ArgumentTypeError(f"{text} must be three numbers, such as 0.48,0.46,0.41")
    return numbers[0], numbers[1], numbers[2]
