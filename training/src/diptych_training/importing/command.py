"""Parse the values of the import command's flags."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from diptych.bundle.parity import MIN_IMAGES
from diptych.bundle.prompts import prompt_set
from diptych.bundle.repository import ModelRepository
from diptych_training.errors import TooFewSamples
from diptych_training.evaluate.calibrate.calibrate import calibrate_published
from diptych_training.evaluate.proof_set.photos import photographs
from diptych_training.export.precisions import parse_precisions
from diptych_training.export.run_export import require_publishable
from diptych_training.flags import add_model_repo_flag
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.manifest import ImportOptions
from diptych_training.importing.proof import N_PROOF_IMAGES
from diptych_training.importing.publish import import_checkpoint
from diptych_training.importing.source import find_source, require_importable
from diptych_training.push import add_push_flag, environment_key, push_and_report, require_server
from diptych_training.stages import report_progress

MIN_CONTEXT_LENGTH = 3  # start token, end token and one token of text


def whole_number(lowest: int) -> Callable[[str], int]:
    """A parser for whole numbers of at least `lowest`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least {lowest}") from None
        if number < lowest:
            raise argparse.ArgumentTypeError(f"{number} must be at least {lowest}")
        return number

    return read


def whole_numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers above 0 with commas between them."""
    return tuple(map(whole_number(1), text.split(",")))


def channels(text: str) -> tuple[float, float, float]:
    """Parse one number for each of red, green and blue."""
    message = f"{text!r} must be three numbers, such as 0.48,0.46,0.41"
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(message)
    return numbers[0], numbers[1], numbers[2]


def spreads(text: str) -> tuple[float, float, float]:
    """Parse three standard deviations, which must be above 0."""
    numbers = channels(text)
    if min(numbers) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be three numbers above 0, such as 0.27,0.26,0.28")
    return numbers


INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
RESIZE_MODES = ("shortest", "longest", "squash")
ABOUT = """Reads a checkpoint of transformers, open_clip, OpenAI's CLIP or diptych, writes ONNX graphs, proves
them against the original library on real photographs and texts, and publishes them atomically. Settings that
the checkpoint does not state must be given by flags: nothing is guessed."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser("import", help="publish a foreign checkpoint", description=ABOUT)
    parser.add_argument(
        "source", metavar="SOURCE", help="folder, weights file, run, bundle, or hub id owner/name@revision"
    )
    parser.add_argument("--name", required=True, help="name of the model in the repository")
    parser.add_argument(
        "--precisions", default="fp32", metavar="LIST", help="such as fp32,int8,fp16; fp32 is always included"
    )
    parser.add_argument(
        "--no-optimise",
        action="store_true",
        help="publish the graphs as they were exported, without rewrites",
    )
    parser.add_argument(
        "--no-weights",
        action="store_true",
        help="leave out the float32 weights, without which the version cannot be trained further",
    )
    add_model_repo_flag(parser)
    parser.add_argument("--prompts", metavar="SET", help="named set of templates that becomes the default")
    parser.add_argument(
        "--matryoshka-dimensions",
        type=whole_numbers,
        default=(),
        metavar="LIST",
        help="numbers of dimensions to which servers may cut embeddings, such as 64,128, "
        "of a model that was trained for it (default: those of a version that is imported again)",
    )
    parser.add_argument("--licence", help="licence of the weights, if the checkpoint does not state it")
    parser.add_argument("--offline", action="store_true", help="use only files in the local hub cache")
    add_push_flag(parser)
    parser.add_argument(
        "--serve", action="store_true", help="then serve the model with its own data folder, until Ctrl-C"
    )
    _add_proof_flags(parser)
    _add_choices(parser)
    parser.set_defaults(run=run)


def _add_proof_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--proof-images",
        type=whole_number(1),
        default=N_PROOF_IMAGES,
        metavar="N",
        help=f"number of images in the proof (default {N_PROOF_IMAGES:,}; fewer need --ungated)",
    )
    parser.add_argument(
        "--ungated",
        action="store_true",
        help="publish even if the graphs do not match the original; servers refuse such a version by default",
    )


def _add_choices(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings that a checkpoint may not state")
    group.add_argument("--context-length", type=whole_number(MIN_CONTEXT_LENGTH), metavar="N")
    group.add_argument(
        "--image-size",
        type=whole_number(1),
        metavar="PX",
        help="for a model that accepts any size, such as ALIGN",
    )
    group.add_argument("--mean", type=channels, metavar="R,G,B")
    group.add_argument("--std", type=spreads, metavar="R,G,B")
    group.add_argument("--interpolation", choices=INTERPOLATIONS)
    group.add_argument("--resize-mode", choices=RESIZE_MODES)
    group.add_argument("--architecture", metavar="NAME", help="open_clip's name, such as ViT-B-32-quickgelu")
    group.add_argument("--tokenizer", metavar="SOURCE", help="folder or hub id of a tokenizer")


def run(args: argparse.Namespace) -> int:
    """Import the checkpoint and print stages, parity table and the version's folder; serve it if asked."""
    _require_valid(args)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # before any library of the hub is loaded
    options = ImportOptions(
        name=args.name,
        precisions=parse_precisions(args.precisions),
        n_images=args.proof_images,
        prompts=None if args.prompts is None else prompt_set(args.prompts),
        ungated=args.ungated,
        optimise=not args.no_optimise,
        weights=not args.no_weights,
        matryoshka_dimensions=args.matryoshka_dimensions,
    )
    repository = ModelRepository(args.model_repo)
    find = partial(find_source, args.source, _choices(args))
    n_images = options.n_images * (1 + len(options.precisions))  # the original embeds them once too
    with report_progress(n_images, "proof") as reporter:
        version = import_checkpoint(find, repository, options, reporter)
    calibrate_published(repository, args.name, version, partial(print, flush=True))
    print(repository.folder(args.name, version))
    if args.push is not None:
        push_and_report(repository.folder(args.name, version), args.push)
    if args.serve:
        exec_server(serve_command(args.model_repo, args.name, ungated=args.ungated))
    return 0


def _require_valid(args: argparse.Namespace) -> None:
    """Check flags and server before the long work.

    Raises InvalidValue, TooFewSamples, ImportFailed or PushFailed.
    """
    require_publishable("--name", args.name, args.model_repo)
    if args.proof_images < MIN_IMAGES and not args.ungated:
        raise TooFewSamples(
            f"--proof-images {args.proof_images}: a proof needs at least {MIN_IMAGES:,} images; "
            "with fewer, also pass --ungated"
        )
    require_importable(args.source, _choices(args))
    photographs()  # raises if the packages that ship them are not installed
    if args.push is not None:
        require_server(args.name, args.push, environment_key())


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


def serve_command(model_repo: Path, name: str, *, ungated: bool) -> list[str]:
    """The `diptych serve` command for one model, with a data folder of its own."""
    command = [sys.executable, "-m", "diptych", "serve", "--model-repo", str(model_repo), "--model", name]
    if "DIPTYCH_DATA_DIR" not in os.environ:
        command += ["--data-dir", str(_state_dir() / f"diptych-{name}")]
    return [*command, "--allow-ungated"] if ungated else command


def exec_server(command: list[str]) -> None:
    """Replace this process by the server, which frees its memory and lets signals reach the server.

    Never returns.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 our own interpreter


def _state_dir() -> Path:
    chosen = os.environ.get("XDG_STATE_HOME")
    return Path(chosen) if chosen else Path.home() / ".local" / "state"
