"""Convert a checkpoint of another library to this package's model, checked against that library.

A converted model can be trained further, mixed, exported and written in other layouts, as one of our own.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.bundle.encoder import Embeddings
from diptych.bundle.manifest import TOKENIZER_FILE
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.errors import CheckpointError, NotConvertible, TrainingConfigError
from diptych_training.importing.common.imported_model import Conversion, ImportedModel
from diptych_training.importing.own import OwnEncoder
from diptych_training.importing.weight_names import from_layout
from diptych_training.models import CLIP, ModelConfig, build_model
from diptych_training.models.depth import WORD_PIECES

MIN_COSINE = 0.99999  # allows for rounding; a wrong activation falls below
POSITIONS = ("positional_embedding", f"{WORD_PIECES}positional_embedding")  # of texts, under our names
TEXTS = (
    "a red apple on a table",
    "two dogs",
    "the sky at night, with stars",
    "7",
    "a long walk by the sea " * 40,  # longer than any context
)
N_IMAGES = 4


def architecture_of(imported: ImportedModel) -> ModelConfig:
    """The checkpoint's architecture in our terms. Raises NotConvertible with the reason if there is none."""
    found = _conversion(imported).config
    length = imported.text.context_length  # the library may cut texts before its last position
    return found.model_copy(update={"text": found.text.model_copy(update={"context_length": length})})


def convert(imported: ImportedModel) -> CLIP:
    """Our model with the checkpoint's weights, in evaluation mode.

    Raises NotConvertible if we have no such architecture, or if the model does not reproduce the embeddings
    of the checkpoint's own library on a few items: tensor shapes do not show activation or pooling.
    """
    conversion = _conversion(imported)
    try:
        weights = from_layout(conversion.tensors, conversion.config)
    except (CheckpointError, TrainingConfigError) as error:
        raise NotConvertible(str(error)) from error
    model = build_model(architecture_of(imported))
    for name in weights.keys() & set(POSITIONS):
        weights[name] = weights[name][: model.config.text.context_length]
    model.load_state_dict(weights)
    _require_same_embeddings(imported, model.eval())
    return model


def _conversion(imported: ImportedModel) -> Conversion:
    if isinstance(imported.conversion, NotConvertible):
        raise imported.conversion
    return imported.conversion


def _require_same_embeddings(imported: ImportedModel, model: CLIP) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / TOKENIZER_FILE
        imported.tokenizer.save(str(file))
        ours = OwnEncoder(model, imported.image, TextTokenizer(file, imported.text))
        images, texts = _sample_images(), list(TEXTS)
        cosines = {
            "image": _cosine(ours.encode_images(images), imported.library.encode_images(images)),
            "text": _cosine(ours.encode_texts(texts), imported.library.encode_texts(texts)),
        }
    for tower, cosine in cosines.items():
        if not cosine >= MIN_COSINE:  # True for NaN too
            raise NotConvertible(
                f"the {tower} tower differs from the checkpoint's own library: lowest cosine {cosine:.6f}, "
                f"must be at least {MIN_COSINE}"
            )


def _cosine(one: Embeddings, other: Embeddings) -> float:
    return float((one * other).sum(axis=1).min())


def _sample_images() -> list[Image.Image]:
    """Random blurred images, not square."""
    rng = np.random.default_rng(0)
    blotches = [Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(N_IMAGES)]
    return [image.resize((320, 240), Image.Resampling.BICUBIC) for image in blotches]
