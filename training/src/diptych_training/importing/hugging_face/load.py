"""Load a folder of transformers as an imported model."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import transformers
from PIL import Image

from diptych.bundle.manifest import TextSpec
from diptych_training.errors import ImportFailed
from diptych_training.importing.common.folder_files import licence_of
from diptych_training.importing.common.imported_model import Choices, ImportedModel, conversion_of
from diptych_training.importing.hugging_face.families import Family, family_of, logit_scale_and_bias
from diptych_training.importing.hugging_face.image_spec import read_image_spec
from diptych_training.importing.hugging_face.library import (
    CONFIG_FILE,
    DualEncoder,
    ImageProcessor,
    LibraryTokenizer,
    ModelConfig,
    model_type_of,
    quiet_library,
)
from diptych_training.importing.hugging_face.own_architecture import own_architecture
from diptych_training.importing.hugging_face.processor import load_processor
from diptych_training.importing.hugging_face.text_spec import read_context_length, read_padding, text_spec
from diptych_training.importing.hugging_face.tokenizer import (
    load_tokenizer,
    require_vocabulary,
    to_tokenizer_file,
)
from diptych_training.importing.hugging_face.towers import (
    Towers,
    TransformersEncoder,
    embed_dim_of,
    padding_changes_nothing,
)
from diptych_training.importing.hugging_face.weights import load_config, load_model

SAMPLE_TEXT = "a photo of a cat"


def load_hugging_face(folder: Path, choices: Choices) -> ImportedModel:
    """Read a dual encoder from a local folder, as `save_pretrained` or a hub snapshot writes it.

    Nothing is downloaded and no code of the checkpoint runs. Raises ImportFailed for settings that are
    missing, contradictory, or that a bundle cannot express; it names the flag that can give them.
    """
    with quiet_library():
        return _load(folder, choices)


def _load(folder: Path, choices: Choices) -> ImportedModel:
    model_type = model_type_of(folder)
    family = family_of(model_type)
    if choices.architecture is not None:
        raise ImportFailed(
            f"{folder.name} is a checkpoint of transformers, whose {CONFIG_FILE} states its architecture: "
            f"leave --architecture {choices.architecture} out"
        )
    licence = licence_of(folder, choices.licence)
    config = load_config(folder, family)
    _require_image_head(config)
    processor = load_processor(folder, config, family, choices)
    image = read_image_spec(processor, config.vision_config, family, choices)
    tokenizer = load_tokenizer(_tokenizer_folder(folder, choices), config)
    tokenizer_file = to_tokenizer_file(tokenizer)
    require_vocabulary(tokenizer_file, config.text_config.vocab_size)
    padding = read_padding(config.text_config, family, tokenizer, tokenizer_file)
    context_length = read_context_length(config.text_config, family, tokenizer, choices)

    model = load_model(folder, family)  # last: errors above should not wait for gigabytes
    logit_scale, logit_bias = logit_scale_and_bias(model)
    towers = Towers(model, padding).eval()
    sample = tokenizer(SAMPLE_TEXT, truncation=True, max_length=context_length)["input_ids"]
    text = text_spec(context_length, padding, pad_to=_pad_to(family, towers, sample, context_length))
    return ImportedModel(
        family=family.scoring,
        embed_dim=embed_dim_of(towers, image.size, sample),
        logit_scale=logit_scale,
        logit_bias=logit_bias,
        image=image,
        text=text,
        tokenizer=tokenizer_file,
        model=towers,
        library=TransformersEncoder(model, partial(_prepare, processor), tokenizer, text),
        conversion=conversion_of(
            partial(own_architecture, model.config, family, padding, tokenizer_file), model
        ),
        source=_source(folder, model_type, model, processor, tokenizer),
        licence=licence,
        notes=_notes(text, choices),
    )


def _pad_to(
    family: Family, towers: Towers, sample: list[int], context_length: int
) -> Literal["longest", "context_length"]:
    """`longest` only if padding does not change a text's feature, which is measured on the model."""
    if family.pooling == "last_position":
        return "context_length"
    harmless = padding_changes_nothing(towers, sample, towers.padding.pad_id, context_length)
    return "longest" if harmless else "context_length"


def _require_image_head(config: ModelConfig) -> None:
    if getattr(config.vision_config, "vision_use_head", True) is False:
        raise ImportFailed("vision_use_head is false: the model has no image feature to compare with texts")


def _tokenizer_folder(folder: Path, choices: Choices) -> Path:
    if choices.tokenizer is None:
        return folder
    chosen = Path(choices.tokenizer)
    if not chosen.is_dir():
        raise ImportFailed(f"--tokenizer {choices.tokenizer}: must be a local folder")
    return chosen


def _prepare(processor: ImageProcessor, images: Sequence[Image.Image]) -> dict[str, Any]:
    return dict(processor(images=list(images), return_tensors="pt"))


def _source(
    folder: Path, model_type: str, model: DualEncoder, processor: ImageProcessor, tokenizer: LibraryTokenizer
) -> dict[str, Any]:
    return {
        "kind": "import",
        "library": "transformers",
        "library_version": transformers.__version__,
        "model_type": model_type,
        "architecture": type(model).__name__,
        "image_processor": type(processor).__name__,
        "tokenizer": type(tokenizer).__name__,
        "checkpoint": folder.resolve().name,
    }


def _notes(text: TextSpec, choices: Choices) -> list[str]:
    notes = [
        "Special tokens spelled out in a text are text here; transformers treats them as special tokens."
    ]
    if choices.context_length is not None:
        notes.append(f"Texts are truncated to {text.context_length} ids (--context-length).")
    return notes
