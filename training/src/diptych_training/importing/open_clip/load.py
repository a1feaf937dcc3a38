"""Load an open_clip checkpoint as an imported model."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor, nn

from diptych.bundle.manifest import TextSpec
from diptych_training.errors import ImportFailed, NotConvertible
from diptych_training.importing.common.folder_files import licence_of
from diptych_training.importing.common.imported_model import (
    Choices,
    ImportedModel,
    conversion_of,
    require_bias,
    scale_of_logarithm,
)
from diptych_training.importing.common.torchscript import is_torchscript, read_torchscript
from diptych_training.importing.common.weight_files import read_weights
from diptych_training.importing.hugging_face.library import quiet_library
from diptych_training.importing.open_clip import openai
from diptych_training.importing.open_clip.architecture import (
    Architecture,
    architecture_in,
    architecture_named,
    weights_in,
)
from diptych_training.importing.open_clip.bpe import TextProcessing
from diptych_training.importing.open_clip.build import build_model, load_weights
from diptych_training.importing.open_clip.choose_text_processing import choose_text_processing
from diptych_training.importing.open_clip.image_spec import OpenClipEncoder, image_spec
from diptych_training.importing.open_clip.own_architecture import own_architecture
from diptych_training.importing.open_clip.towers import AppendedToken, DualEncoder, pad_to, text_tower
from diptych_training.models import ModelConfig

LITERALS_NOTE = "Special tokens spelled out in a text are text here; open_clip treats them as special tokens."
AMBIGUOUS = (
    "OpenAI's models and those that open_clip trained have the same tensors, but different activations, "
    "QuickGELU or GELU, and this file does not state which: pass --architecture, such as "
    "ViT-B-32-quickgelu or ViT-B-32"
)


@dataclass(frozen=True)
class _Checkpoint:
    architecture: Architecture
    state: dict[str, Tensor]
    file: Path


def load_open_clip(path: Path, choices: Choices) -> ImportedModel:
    """Read a folder in the layout of open_clip's hub repositories, or a file of weights.

    A file is an open_clip checkpoint (then `choices.architecture` names its architecture), OpenAI's state
    dict or OpenAI's TorchScript archive. Nothing is downloaded, and no code of a checkpoint runs. Raises
    ImportFailed for settings that are missing, contradictory, or that a bundle cannot express.
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
    text_processing = choose_text_processing(architecture, tower.vocab_size, choices)
    return ImportedModel(
        family="siglip" if is_sigmoid else "clip",
        embed_dim=int(architecture.model["embed_dim"]),
        logit_scale=logit_scale,
        logit_bias=logit_bias,
        image=image,
        text=TextSpec(
            context_length=text_processing.context_length,
            clean=text_processing.clean,
            pad_to=pad_to(tower, text_processing),
            pad_id=text_processing.pad_id,
            prompts={"default": ["{}"]},
        ),
        tokenizer=text_processing.tokenizer,
        model=DualEncoder(model.visual, _with_appended(tower, text_processing)).eval(),
        library=OpenClipEncoder(model, image, text_processing),
        conversion=conversion_of(
            partial(_own_architecture, architecture, model.visual, text_processing), model
        ),
        source=_source(path, checkpoint, model),
        licence=licence,
        notes=[LITERALS_NOTE],
    )


def _own_architecture(
    architecture: Architecture, visual: nn.Module, text_processing: TextProcessing
) -> ModelConfig:
    if text_processing.appended_id is not None:
        raise NotConvertible("a class token follows the padding of texts: diptych's text towers have none")
    return own_architecture(architecture.model, visual)


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
    raise ImportFailed(f"{file}: the file states no architecture: pass --architecture, a name of open_clip's")


def _original(state: dict[str, Tensor], file: Path, choices: Choices) -> _Checkpoint:
    if choices.architecture is not None:
        raise ImportFailed(
            f"{file} is one of OpenAI's models, whose tensors determine the architecture: "
            f"leave --architecture {choices.architecture} out"
        )
    return _Checkpoint(openai.architecture_of(state, file), openai.weights_of(state), file)


def _with_appended(tower: nn.Module, text_processing: TextProcessing) -> nn.Module:
    return tower if text_processing.appended_id is None else AppendedToken(tower, text_processing.appended_id)


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
