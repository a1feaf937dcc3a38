"""`diptych-train weights`: write a model's weights under the names of another library."""

import argparse
from pathlib import Path
from typing import get_args

from safetensors.torch import save

from diptych_training.checkpoint import write_atomic
from diptych_training.config import StartConfig
from diptych_training.errors import CheckpointError
from diptych_training.finetune.source_model import open_own_model
from diptych_training.models import ModelConfig
from diptych_training.paths import model_repo, runs_dir
from diptych_training.weight_names.layouts import Layout, to_layout

ENDING = ".safetensors"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "weights",
        help="write a model's weights under the names of open_clip, transformers or OpenAI",
        description="Writes a safetensors file with the tensor names and shapes of another library: a state "
        "dict that its model of the same architecture loads with strict=True.",
    )
    parser.add_argument("model", metavar="MODEL", help="a run, NAME/VERSION of the repository, or a folder")
    parser.add_argument(
        "--layout",
        choices=get_args(Layout),
        required=True,
        help="original: OpenAI's names, shared by diptych and open_clip's plain CLIP; open_clip: its models "
        "with a separate text tower, such as SigLIP; hugging_face: CLIPModel and SiglipModel",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"ends with {ENDING}")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of a run")
    parser.add_argument("--runs-dir", type=Path, default=runs_dir(), metavar="DIR", help="DIPTYCH_RUNS_DIR")
    parser.add_argument(
        "--model-repo", type=Path, default=model_repo(), metavar="DIR", help="DIPTYCH_MODEL_REPO"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file and print a summary."""
    if args.out.suffix != ENDING:
        raise CheckpointError(f"--out {args.out} must end with {ENDING}")
    if args.out.is_dir():
        raise CheckpointError(f"--out {args.out} is a folder: must be a file")
    source_model = open_own_model(
        StartConfig(source=args.model, which=args.which), args.runs_dir, args.model_repo
    )
    if isinstance(source_model, CheckpointError):
        raise source_model
    config = ModelConfig.model_validate(source_model.tables["model"])
    moved = to_layout(source_model.weights(config), config, args.layout)
    tensors = {name: tensor.contiguous() for name, tensor in moved.items()}
    write_atomic(args.out, save(tensors, metadata={"format": "pt"}))  # transformers requires this
    n = sum(tensor.numel() for tensor in tensors.values())
    print(f"{args.out}: {source_model.title}, {len(tensors)} tensors, {n:,} numbers, names of {args.layout}")
    return 0
