"""A model of transformers in CLIP's two methods, with the attention mask computed from the ids, as a
reference.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from diptych.bundle.encoder import Embeddings
from diptych.bundle.manifest import TextSpec
from diptych_training.errors import ImportFailed
from diptych_training.importing.hugging_face.library import DualEncoder, LibraryTokenizer

SAME_COSINE = 1 - 1e-5  # float32 rounding: more positions change the order of sums


@dataclass(frozen=True)
class Padding:
    """The padding id, and which positions a token may attend to.

    `everything`: no mask is passed to the tower. `all_but_padding`: ids other than `pad_id`.
    `up_to_padding`: everything up to and including the first `pad_id`, where that id also ends each text.
    """

    pad_id: int
    visible: Literal["everything", "all_but_padding", "up_to_padding"]

    def mask(self, input_ids: Tensor) -> Tensor | None:
        """(B, L) ids -> (B, L) int64, 1 where a token is seen; None where the tower gets no mask."""
        if self.visible == "everything":
            return None
        is_pad = (input_ids == self.pad_id).long()
        if self.visible == "all_but_padding":
            return 1 - is_pad
        n_before = is_pad.cumsum(dim=1) - is_pad
        return (n_before == 0).long()


@torch.no_grad()
def padding_changes_nothing(model: nn.Module, ids: list[int], pad_id: int, context_length: int) -> bool:
    """True if a text has the same feature unpadded and padded to `context_length`, measured on the model."""
    alone = torch.tensor([ids])
    filled = F.pad(alone, (0, context_length - len(ids)), value=pad_id)
    encode = model.encode_text
    cosine = F.cosine_similarity(encode(alone).double(), encode(filled).double())  # type: ignore[operator]
    return bool(cosine.item() >= SAME_COSINE)


class Towers(nn.Module):
    """The library's own modules: what its `get_..._features` return, before normalisation."""

    def __init__(self, model: DualEncoder, padding: Padding) -> None:
        super().__init__()
        self.model = model
        self.padding = padding

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised float -> (B, D) features."""
        return image_features(self.model, {"pixel_values": pixels})

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 ids -> (B, D) features."""
        inputs = {"input_ids": input_ids}
        mask = self.padding.mask(input_ids)
        return text_features(self.model, inputs if mask is None else {**inputs, "attention_mask": mask})


def image_features(model: DualEncoder, inputs: dict[str, Any]) -> Tensor:
    """(B, D) image features before normalisation."""
    features: Tensor = model.get_image_features(**inputs, return_dict=True).pooler_output
    return features


def text_features(model: DualEncoder, inputs: dict[str, Any]) -> Tensor:
    """(B, D) text features before normalisation."""
    features: Tensor = model.get_text_features(**inputs, return_dict=True).pooler_output
    return features


@torch.no_grad()
def embed_dim_of(towers: Towers, image_size: int, ids: list[int]) -> int:
    """Run both towers once to find D. Raises ImportFailed if D differs or a feature is not finite."""
    image = towers.encode_image(torch.zeros(1, 3, image_size, image_size))
    text = towers.encode_text(torch.tensor([ids]))
    if image.shape != text.shape:
        raise ImportFailed(
            f"image features have {image.shape[-1]} values and text features {text.shape[-1]}: "
            "the towers must share one space"
        )
    if not (image.isfinite().all() and text.isfinite().all()):
        raise ImportFailed("the model's features are not finite: its weights are damaged")
    return int(image.shape[-1])


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
