"""Checkpoints run by the libraries they come from, as those document it; shares no code with the importer.

library = by_open_clip(folder)
library.encode_images(images)  # N upright RGB images -> (N, D), unit norm
library.encode_texts(texts)  # N texts -> (N, D), unit norm
"""

import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.openai import load_openai_model
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging

from diptych.bundle.encoder import Embeddings

BATCH_SIZE = 16


@dataclass(frozen=True)
class OriginalLibrary:
    """`image_features`, `text_features`: a batch -> (B, D), not normalised."""

    image_features: Callable[[Sequence[Image.Image]], Tensor]
    text_features: Callable[[Sequence[str]], Tensor]

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        return _embed(self.image_features(part) for part in _parts(images))

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        return _embed(self.text_features(part) for part in _parts(texts))


def by_transformers(folder: Path) -> OriginalLibrary:
    """`AutoModel` with its processor for PIL images and its tokenizer.

    SigLIP was trained on texts padded to the full length, and its documentation asks for that.
    """
    logging.disable_progress_bar()
    # sdpa is the library's choice, and another road than the importer's plain attention
    model: Any = AutoModel.from_pretrained(folder).eval()
    processor: Any = AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if model.config.model_type.startswith("siglip") else "longest"

    def image_features(images: Sequence[Image.Image]) -> Tensor:
        inputs = processor(images=list(images), return_tensors="pt")
        return _pooled(model.get_image_features(**inputs))

    def text_features(texts: Sequence[str]) -> Tensor:
        with warnings.catch_warnings():
            # of an end-of-text token that is spelled out in a text
            warnings.filterwarnings("ignore", "This sequence already has", UserWarning)
            inputs = tokenizer(list(texts), padding=padding, truncation=True, return_tensors="pt")
        return _pooled(model.get_text_features(**inputs))

    return OriginalLibrary(image_features, text_features)


def by_open_clip(folder: Path) -> OriginalLibrary:
    """`create_model_and_transforms` and `get_tokenizer` on a local folder."""
    name = f"local-dir:{_with_text_tower_at_hand(folder)}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    return _open_clip(model, transform, open_clip.get_tokenizer(name))


def by_openai(archive: Path) -> OriginalLibrary:
    """open_clip's loader of OpenAI's archives, which runs them through torch's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the format
        model = load_openai_model(str(archive), precision="fp32", device="cpu")
    visual: Any = model.visual
    preparation = PreprocessCfg(size=visual.image_size, mean=visual.image_mean, std=visual.image_std)
    return _open_clip(model, image_transform_v2(preparation, is_train=False), open_clip.tokenize)


def _open_clip(model: Any, transform: Any, tokenize: Any) -> OriginalLibrary:
    model.eval()
    return OriginalLibrary(
        lambda images: model.encode_image(torch.stack([transform(image) for image in images])),
        lambda texts: model.encode_text(tokenize(list(texts))),
    )


def _with_text_tower_at_hand(folder: Path) -> Path:
    """A copy whose configuration names its own folder where the library would ask a hub for a text tower."""
    config = json.loads((folder / "open_clip_config.json").read_text())
    if "hf_model_name" not in config["model_cfg"]["text_cfg"]:
        return folder
    copied = folder.with_name(f"{folder.name}-local")
    shutil.copytree(folder, copied)
    config["model_cfg"]["text_cfg"]["hf_model_name"] = str(copied)
    (copied / "open_clip_config.json").write_text(json.dumps(config))
    return copied


def _pooled(output: Any) -> Tensor:
    features: Tensor = output.pooler_output
    return features


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + BATCH_SIZE] for start in range(0, len(items), BATCH_SIZE))


@torch.no_grad()
def _embed(batches: Iterable[Tensor]) -> Embeddings:
    rows: Embeddings = np.concatenate([F.normalize(features, dim=-1).numpy() for features in batches])
    return rows
