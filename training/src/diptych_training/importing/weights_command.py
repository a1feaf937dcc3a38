"""`diptych-train weights`: write a model's weights in the form of another library."""

import argparse
from pathlib import Path
from typing import get_args

from diptych_training.checkpoint import write_tensors
from diptych_training.config import StartConfig
from diptych_training.errors import CheckpointError
from diptych_training.flags import add_model_repo_flag, add_runs_dir_flag
from diptych_training.importing.hugging_face_folder import write_hugging_face_folder
from diptych_training.importing.source_model import SourceModel, open_own_model
from diptych_training.importing.weight_names.layouts import Layout, to_layout
from diptych_training.models import ModelConfig

ENDING = ".safetensors"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "weights",
        help="write a model's weights in the form of open_clip, transformers or OpenAI",
        description="Writes a safetensors file with the tensor names and shapes of another library: a state "
        "dict that its model of the same architecture loads with strict=True. Or, for transformers, a folder "
        "with configuration, image processor and tokenizer too, which from_pretrained and `import` take.",
    )
    parser.add_argument("model", metavar="MODEL", help="a run, NAME/VERSION of the repository, or a folder")
    parser.add_argument(
        "--layout",
        choices=get_args(Layout),
        required=True,
        help="original: OpenAI's names, shared by diptych and open_clip's plain CLIP; open_clip: its models "
        "with a separate text tower, such as SigLIP; hugging_face: CLIPModel and SiglipModel",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help=f"a file that ends with {ENDING}, or with hugging_face a new folder",
    )
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of a run")
    add_runs_dir_flag(parser)
    add_model_repo_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file or folder and print a summary, and the differences from the model as it was trained."""
    is_file = args.out.suffix == ENDING
    if not is_file and args.layout != "hugging_face":
        raise CheckpointError(f"--out {args.out} must end with {ENDING}: only hugging_face has a folder")
    if is_file and args.out.is_dir():
        raise CheckpointError(f"--out {args.out} is a folder: must be a file")
    source_model = open_own_model(
        StartConfig(source=args.model, which=args.which), args.runs_dir, args.model_repo
    )
    if isinstance(source_model, CheckpointError):
        raise source_model
    if is_file:
        _write_file(source_model, args.layout, args.out)
        return 0
    for difference in write_hugging_face_folder(source_model, args.out):
        print(difference)
    print(f"{args.out}: {source_model.title}, a folder of transformers")
    return 0


def _write_file(source_model: SourceModel, layout: Layout, out: Path) -> None:
    config = ModelConfig.model_validate(source_model.tables["model"])
    moved = to_layout(source_model.weights(config), config, layout)
    tensors = {name: tensor.contiguous() for name, tensor in moved.items()}
    write_tensors(out, tensors, {"format": "pt"})  # transformers requires this
    n = sum(tensor.numel() for tensor in tensors.values())
    print(f"{out}: {source_model.title}, {len(tensors)} tensors, {n:,} numbers, names of {layout}")
