"""From an open_clip checkpoint to an imported model; the order of reading, nothing of what is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor, nn

from diptych.bundle.manifest import TextSpec
from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices, ImportedModel
from diptych_training.importing.common.licence import licence_of
from diptych_training.importing.common.logits import require_bias, scale_of_logarithm
from diptych_training.importing.common.torchscript import is_torchscript, read_torchscript
from diptych_training.importing.common.weight_files import read_weights
from diptych_training.importing.hugging_face.library import quiet_library
from diptych_training.importing.open_clip import openai
from diptych_training.importing.open_clip.architecture import (
    Architecture,
    architecture_in,
    architecture_named,
)
from diptych_training.importing.open_clip.build import build_model, load_weights
from diptych_training.importing.open_clip.files import weights_in
from diptych_training.importing.open_clip.image_spec import image_spec
from diptych_training.importing.open_clip.library_path import OpenClipPath
from diptych_training.importing.open_clip.tokenizer_choice import tokenizing_of
from diptych_training.importing.open_clip.tokenizing import Tokenizing
from diptych_training.importing.open_clip.towers import AppendedToken, DualEncoder, pad_to, text_tower

LITERALS_NOTE = "Special tokens spelled out in a text are text here; open_clip takes them as special tokens."
AMBIGUOUS = (
    "OpenAI's own models and those that open_clip trained have the same tensors, but not the same "
    "activation, QuickGELU or GELU, and nothing in this file says which: pass --architecture, such as "
    "ViT-B-32-quickgelu or ViT-B-32"
)


@dataclass(frozen=True)
class _Checkpoint:
    architecture: Architecture
    state: dict[str, Tensor]
    file: Path


def load_open_clip(path: Path, choices: Choices) -> ImportedModel:
    """Read a folder as open_clip's hub repositories hold it, or a file of weights.

    A file is an open_clip checkpoint (then `choices.architecture` names its architecture), OpenAI's original
    state dict or OpenAI's TorchScript archive. Nothing is fetched, and no code of a checkpoint runs. Raises
    ImportFailed for what is missing, contradictory, or beyond what a bundle can express.
    """
    with quiet_library():
        checkpoint = _open_folder(path, choices) if path.is_dir() else _open_file(path, choices)
        return _load(path, checkpoint, choices)


def _load(path: Path, checkpoint: _Checkpoint, choices: Choices) -> ImportedModel:
    licence = licence_of(path, choices.licence)
    architecture = checkpoint.architecture
    model: Any = build_model(architecture)
    load_weights(model, checkpoint.state, checkpoint.file)
    logit_scale = scale_of_logarithm("logit_scale", float(model.logit_scale.detach().double()))
    is_sigmoid = model.logit_bias is not None
    logit_bias = require_bias("logit_bias", float(model.logit_bias.detach())) if is_sigmoid else 0.0
    image = image_spec(architecture, model.visual.image_size, choices)
    tower = text_tower(model)
    tokenizing = tokenizing_of(architecture, tower.vocab_size, choices)
    return ImportedModel(
        family="siglip" if is_sigmoid else "clip",
        embed_dim=int(architecture.model["embed_dim"]),
        logit_scale=logit_scale,
        logit_bias=logit_bias,
        image=image,
        text=TextSpec(
            context_length=tokenizing.context_length,
            clean=tokenizing.clean,
            pad_to=pad_to(tower, tokenizing),
            pad_id=tokenizing.pad_id,
            prompts={"default": ["{}"]},
        ),
        tokenizer=tokenizing.tokenizer,
        model=DualEncoder(model.visual, _with_appended(tower, tokenizing)).eval(),
        library=OpenClipPath(model, image, tokenizing),
        source=_source(path, checkpoint, model),
        licence=licence,
        notes=[LITERALS_NOTE],
    )


def _open_folder(folder: Path, choices: Choices) -> _Checkpoint:
    architecture = architecture_in(folder, choices)
    file = weights_in(folder)
    return _Checkpoint(architecture, read_weights(file), file)


def _open_file(file: Path, choices: Choices) -> _Checkpoint:
    if is_torchscript(file):
        return _original(read_torchscript(file), file, choices)
    state = read_weights(file)
    if openai.is_original(state):
        return _original(state, file, choices)
    if choices.architecture is not None:
        return _Checkpoint(architecture_named(choices.architecture, file, choices), state, file)
    if openai.has_openai_names(state):
        raise ImportFailed(f"{file}: {AMBIGUOUS}")
    raise ImportFailed(f"{file}: tensors do not say what they are for: pass --architecture, open_clip's name")


def _original(state: dict[str, Tensor], file: Path, choices: Choices) -> _Checkpoint:
    if choices.architecture is not None:
        raise ImportFailed(
            f"{file} is one of OpenAI's originals, which determine their own architecture: "
            f"leave --architecture {choices.architecture} out"
        )
    return _Checkpoint(openai.architecture_of(state, file), openai.weights_of(state), file)


def _with_appended(tower: nn.Module, tokenizing: Tokenizing) -> nn.Module:
    return tower if tokenizing.appended_id is None else AppendedToken(tower, tokenizing.appended_id)


def _source(path: Path, checkpoint: _Checkpoint, model: nn.Module) -> dict[str, Any]:
    architecture = checkpoint.architecture
    return {
        "kind": "import",
        "library": architecture.library,
        "library_version": open_clip.__version__,
        "architecture": architecture.name,
        "model_class": type(model).__name__,
        "checkpoint": path.resolve().name,
        "weights": checkpoint.file.name,
    }
