"""A checkpoint of open_clip, transformers or OpenAI as a start for training, held against its own library.

Knows nothing of training. What it says of images and texts is read as `import` reads it.
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
from diptych_training.importing.own import OwnPath
from diptych_training.importing.source import find_source
from diptych_training.models import ModelConfig, build_model
from diptych_training.objectives.contrastive import LossKind

MIN_COSINE = 0.99999  # what rounding leaves of 1; another activation falls below
TEXTS = ("a red apple on a table", "two dogs", "the sky at night, with stars", "7")
N_IMAGES = 4


@dataclass(frozen=True)
class Published:
    """What the checkpoint says of itself.

    `weights` raises CheckpointError unless the architecture gives, with them, the embeddings of the
    checkpoint's own library.
    """

    loss: LossKind
    image: ImageSpec
    text: TextSpec
    tokenizer: Tokenizer
    weights: Callable[[ModelConfig], dict[str, Tensor]]
    licence: str


def open_published(source: str, reason: DiptychError | None) -> Published:
    """A folder, a file, or a hub id. Raises ImportFailed; `reason` is why it is nothing of our own."""
    try:
        found = find_source(source, Choices())
        imported = found.load()
    except ImportFailed as error:
        raise ImportFailed(str(error) if reason is None else f"{reason}; and {error}") from error

    def weights(config: ModelConfig) -> dict[str, Tensor]:
        state = load_pretrained(found.path, config)
        _require_same(imported, config, state, source)
        return state

    return Published(
        loss="sigmoid" if imported.family == "siglip" else "softmax",
        image=imported.image,
        text=imported.text,
        tokenizer=imported.tokenizer,
        weights=weights,
        licence=imported.licence,
    )


def _require_same(
    imported: ImportedModel, config: ModelConfig, state: dict[str, Tensor], source: str
) -> None:
    """Shapes do not tell activations, nor pooling: both libraries embed a few items."""
    model = build_model(config)
    model.load_state_dict(state)
    if config.image_size != imported.image.size:
        raise CheckpointError(
            f"{source} takes images of {imported.image.size} px, model.image_size is {config.image_size}: "
            "train it at its own size"
        )
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / TOKENIZER_FILE
        imported.tokenizer.save(str(file))
        ours = OwnPath(model.eval(), imported.image, TextTokenizer(file, imported.text))
        images, texts = _pictures(), list(TEXTS)
        cosines = {
            "image": _cosine(ours.encode_images(images), imported.library.encode_images(images)),
            "text": _cosine(ours.encode_texts(texts), imported.library.encode_texts(texts)),
        }
    for tower, cosine in cosines.items():
        if cosine < MIN_COSINE:
            raise CheckpointError(
                f"{source}: the {tower} tower of `model` gives other embeddings than the checkpoint's own "
                f"library: lowest cosine {cosine:.6f}, it must be {MIN_COSINE}; is it another architecture, "
                "such as one with another activation?"
            )


def _cosine(one: Embeddings, other: Embeddings) -> float:
    return float((one * other).sum(axis=1).min())


def _pictures() -> list[Image.Image]:
    """Blotches of colour, none of them square."""
    rng = np.random.default_rng(0)
    blotches = [Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(N_IMAGES)]
    return [image.resize((320, 240), Image.Resampling.BICUBIC) for image in blotches]
