"""Wrap a model of transformers in CLIP's two methods, with the attention mask computed from the ids."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.errors import ImportFailed
from diptych_training.importing.hugging_face.library import DualEncoder

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
