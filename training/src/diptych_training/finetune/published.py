"""Open a checkpoint of open_clip, transformers or OpenAI as a start for training.

Its settings are read as by `diptych-train import`, and its embeddings are checked against its own library.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from diptych.bundle.encoder import Embeddings
from diptych.bundle.manifest import TOKENIZER_FILE, ImageSpec, TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych.errors import DiptychError
from diptych_training.errors import CheckpointError, ImportFailed
from diptych_training.finetune.pretrained import load_pretrained
from diptych_training.importing.common.imported_model import Choices, ImportedModel
from diptych_training.importing.own import OwnEncoder
from diptych_training.importing.source import find_source
from diptych_training.models import ModelConfig, build_model
from diptych_training.objectives.contrastive import LossKind

MIN_COSINE = 0.99999  # allows for rounding; a wrong activation falls below
TEXTS = ("a red apple on a table", "two dogs", "the sky at night, with stars", "7")
N_IMAGES = 4


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A foreign checkpoint's settings and weights.

    `weights` raises CheckpointError unless the given architecture, with these weights, reproduces the
    embeddings of the checkpoint's own library.
    """

    loss: LossKind
    image: ImageSpec
    text: TextSpec
    tokenizer: Tokenizer
    weights: Callable[[ModelConfig], dict[str, Tensor]]
    licence: str


def open_published(source: str, reason: DiptychError | None) -> PublishedCheckpoint:
    """Open a folder, a file, or a hub id. Raises ImportFailed, preceded by `reason` if it is given."""
    try:
        found = find_source(source, Choices())
        imported = found.load()
    except ImportFailed as error:
        raise ImportFailed(str(error) if reason is None else f"{reason}; and {error}") from error

    def weights(config: ModelConfig) -> dict[str, Tensor]:
        state = load_pretrained(found.path, config)
        _require_same_embeddings(imported, config, state, source)
        return state

    return PublishedCheckpoint(
        loss="sigmoid" if imported.family == "siglip" else "softmax",
        image=imported.image,
        text=imported.text,
        tokenizer=imported.tokenizer,
        weights=weights,
        licence=imported.licence,
    )


def _require_same_embeddings(
    imported: ImportedModel, config: ModelConfig, state: dict[str, Tensor], source: str
) -> None:
    """Embed a few items with both libraries: tensor shapes do not show activation or pooling."""
    model = build_model(config)
    model.load_state_dict(state)
    if config.image_size != imported.image.size:
        raise CheckpointError(
            f"{source} has images of {imported.image.size} px, model.image_size is {config.image_size}: "
            "train it at its own size"
        )
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / TOKENIZER_FILE
        imported.tokenizer.save(str(file))
        ours = OwnEncoder(model.eval(), imported.image, TextTokenizer(file, imported.text))
        images, texts = _sample_images(), list(TEXTS)
        cosines = {
            "image": _cosine(ours.encode_images(images), imported.library.encode_images(images)),
            "text": _cosine(ours.encode_texts(texts), imported.library.encode_texts(texts)),
        }
    for tower, cosine in cosines.items():
        if cosine < MIN_COSINE:
            raise CheckpointError(
                f"{source}: the {tower} tower of `model` differs from the checkpoint's own library: lowest "
                f"cosine {cosine:.6f}, must be at least {MIN_COSINE}; the architecture may be another one, "
                "for instance with another activation"
            )


def _cosine(one: Embeddings, other: Embeddings) -> float:
    return float((one * other).sum(axis=1).min())


def _sample_images() -> list[Image.Image]:
    """Random blurred images, not square."""
    rng = np.random.default_rng(0)
    blotches = [Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(N_IMAGES)]
    return [image.resize((320, 240), Image.Resampling.BICUBIC) for image in blotches]
