"""Embed PIL images and strings with transformers: the reference for an import's proof."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from diptych.bundle.encoder import Embeddings
from diptych.bundle.manifest import TextSpec
from diptych_training.importing.hugging_face.library import DualEncoder, LibraryTokenizer
from diptych_training.importing.hugging_face.towers import image_features, text_features

BATCH_SIZE = 16

Item = TypeVar("Item")
Prepare = Callable[[Sequence[Image.Image]], dict[str, Any]]


class TransformersEncoder:
    """The library's processor, tokenizer and model, float32; implements `LibraryEncoder`."""

    def __init__(
        self, model: DualEncoder, prepare: Prepare, tokenizer: LibraryTokenizer, text: TextSpec
    ) -> None:
        self._model = model
        self._prepare = prepare
        self._tokenizer = tokenizer
        self._padding = "max_length" if text.pad_to == "context_length" else "longest"
        self._context_length = text.context_length

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """N upright 8-bit RGB images -> (N, D) float32 of unit norm."""
        return _embed(image_features(self._model, self._prepare(part)) for part in _parts(images))

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """N texts -> (N, D) float32 of unit norm."""
        return _embed(text_features(self._model, self._tokenize(part)) for part in _parts(texts))

    def input_ids(self, text: str) -> list[int]:
        """Token ids of one text, with special tokens and without padding."""
        found = self._call(text)
        return list(found["input_ids"])

    def _tokenize(self, texts: Sequence[str]) -> dict[str, Any]:
        return self._call(list(texts), padding=self._padding, return_tensors="pt")

    def _call(self, text: str | list[str], **how: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            # SigLIP's tokenizer warns about an end-of-text token that is spelled out in a text.
            warnings.filterwarnings("ignore", "This sequence already has", UserWarning)
            return dict(self._tokenizer(text, truncation=True, max_length=self._context_length, **how))


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH_SIZE):
        yield items[start : start + BATCH_SIZE]


@torch.no_grad()
def _embed(batches: Iterator[Tensor]) -> Embeddings:
    rows = [F.normalize(features, dim=-1).numpy() for features in batches]
    return np.concatenate(rows).astype(np.float32, copy=False)
