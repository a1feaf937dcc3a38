"""Embed PIL images and strings with open_clip: the reference for an import's proof."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from diptych.bundle.encoder import Embeddings
from diptych.bundle.manifest import ImageSpec
from diptych_training.importing.open_clip.image_spec import preprocess_config
from diptych_training.importing.open_clip.text_processing import TextProcessing

BATCH_SIZE = 16

Item = TypeVar("Item")


class OpenClipEncoder:
    """The library's transform, tokenizer and model, float32; implements `LibraryEncoder`."""

    def __init__(self, model: Any, spec: ImageSpec, text_processing: TextProcessing) -> None:
        self._model = model
        self._transform = image_transform_v2(PreprocessCfg(**preprocess_config(spec)), is_train=False)
        self._text_processing = text_processing

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """N upright 8-bit RGB images -> (N, D) float32 of unit norm."""
        return _embed(self._encode_images(part) for part in _parts(images))

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """N texts -> (N, D) float32 of unit norm."""
        return _embed(self._encode_texts(part) for part in _parts(texts))

    def input_ids(self, text: str) -> list[int]:
        """Token ids of one text, with special tokens and without padding."""
        return self._text_processing.library_ids(text)

    def _encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        batch = torch.stack([self._transform(image) for image in images])  # (B, 3, S, S)
        features: Tensor = self._model.encode_image(batch, normalize=True)
        return features

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        features: Tensor = self._model.encode_text(self._text_processing.library(list(texts)), normalize=True)
        return features


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH_SIZE):
        yield items[start : start + BATCH_SIZE]


@torch.no_grad()
def _embed(batches: Iterator[Tensor]) -> Embeddings:
    rows = [embeddings.numpy() for embeddings in batches]
    return np.concatenate(rows).astype(np.float32, copy=False)
