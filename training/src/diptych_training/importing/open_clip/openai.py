"""Derive the architecture of OpenAI's CLIP models from their state dicts.

They were trained with QuickGELU, heads of 64 channels, and the preprocessing of the paper's code (Radford et
al. 2021). All sizes are read from the tensors' shapes.
"""

import math
from pathlib import Path
from typing import Any

from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor

from diptych_training.errors import ImportFailed
from diptych_training.importing.open_clip.architecture import Architecture

HEAD_WIDTH = 64
RESNET_STRIDE = 32
# Numbers that only OpenAI's state dicts hold among their tensors.
OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")
CORE = ("visual.conv1.weight", "positional_embedding", "token_embedding.weight", "ln_final.weight")
NAMES = (*CORE, "text_projection", "logit_scale")


def has_openai_names(state: dict[str, Tensor]) -> bool:
    """True for the tensor names of OpenAI's models, which open_clip's plain models share."""
    return all(name in state for name in NAMES)


def is_original(state: dict[str, Tensor]) -> bool:
    """True for a state dict taken from one of OpenAI's archives."""
    return has_openai_names(state) and all(mark in state for mark in OPENAI_NUMBERS)


def weights_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The trained tensors only; the model makes its own causal mask."""
    return {n: t for n, t in state.items() if n not in OPENAI_NUMBERS and n.rpartition(".")[2] != "attn_mask"}


def architecture_of(state: dict[str, Tensor], file: Path) -> Architecture:
    """Read the sizes from the tensors. Raises ImportFailed naming a tensor that is missing or invalid."""
    try:
        model = _model(state)
    except KeyError as error:
        raise ImportFailed(f"{file}: not one of OpenAI's models: tensor {error} is missing") from error
    preprocess = {
        "mode": "RGB",
        "mean": OPENAI_DATASET_MEAN,
        "std": OPENAI_DATASET_STD,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    return Architecture(file.stem, model, preprocess, library="openai")


def _model(state: dict[str, Tensor]) -> dict[str, Any]:
    context_length, width = state["positional_embedding"].shape
    return {
        "embed_dim": state["text_projection"].shape[1],
        "quick_gelu": True,
        "vision_cfg": _vit(state) if "visual.proj" in state else _resnet(state),
        "text_cfg": {
            "context_length": context_length,
            "vocab_size": state["token_embedding.weight"].shape[0],
            "width": width,
            "heads": width // HEAD_WIDTH,
            "layers": _count(state, "transformer.resblocks."),
        },
    }


def _vit(state: dict[str, Tensor]) -> dict[str, Any]:
    width, _, _, patch_size = state["visual.conv1.weight"].shape
    return {
        "layers": _count(state, "visual.transformer.resblocks."),
        "width": width,
        "head_width": HEAD_WIDTH,
        "patch_size": patch_size,
        "image_size": patch_size * _grid(state["visual.positional_embedding"]),
    }


def _resnet(state: dict[str, Tensor]) -> dict[str, Any]:
    return {
        "layers": [_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
        "width": state["visual.layer1.0.conv1.weight"].shape[0],
        "head_width": HEAD_WIDTH,
        "patch_size": None,
        "image_size": RESNET_STRIDE * _grid(state["visual.attnpool.positional_embedding"]),
    }


def _count(state: dict[str, Tensor], prefix: str) -> int:
    """Number of blocks in a list of modules."""
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def _grid(positional_embedding: Tensor) -> int:
    """Edge of the square grid of positions after the class token."""
    n_patches = positional_embedding.shape[0] - 1
    edge = math.isqrt(n_patches)
    if edge * edge != n_patches:
        raise ImportFailed(f"the image tower has {n_patches} positions, which is not a square number")
    return edge
