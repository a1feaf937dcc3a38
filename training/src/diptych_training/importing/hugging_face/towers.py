"""A model of the library behind CLIP's two methods; knows nothing of preparing images or texts."""

from typing import Any

import torch
from torch import Tensor, nn

from diptych_training.errors import ImportFailed
from diptych_training.importing.hugging_face.library import DualEncoder
from diptych_training.importing.hugging_face.padding import Padding


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
        """(B, L) int64 ids -> (B, D) features; an attention mask, where there is one, comes from the ids."""
        inputs = {"input_ids": input_ids}
        mask = self.padding.mask(input_ids)
        return text_features(self.model, inputs if mask is None else {**inputs, "attention_mask": mask})


def image_features(model: DualEncoder, inputs: dict[str, Any]) -> Tensor:
    """What the library normalises into image embeddings: (B, D)."""
    features: Tensor = model.get_image_features(**inputs, return_dict=True).pooler_output
    return features


def text_features(model: DualEncoder, inputs: dict[str, Any]) -> Tensor:
    """What the library normalises into text embeddings: (B, D)."""
    features: Tensor = model.get_text_features(**inputs, return_dict=True).pooler_output
    return features


@torch.no_grad()
def embed_dim_of(towers: Towers, image_size: int, ids: list[int]) -> int:
    """Run both towers once for D. Raises ImportFailed if they share no space of finite numbers."""
    image = towers.encode_image(torch.zeros(1, 3, image_size, image_size))
    text = towers.encode_text(torch.tensor([ids]))
    if image.shape != text.shape:
        raise ImportFailed(
            f"image features have {image.shape[-1]} values and text features {text.shape[-1]}: "
            "the towers do not share a space"
        )
    if not (image.isfinite().all() and text.isfinite().all()):
        raise ImportFailed("the model answers with numbers that are not finite: its weights are damaged")
    return int(image.shape[-1])
