"""open_clip's model of the same architecture, with the same weights. Needs its package."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.config import ModelConfig, ViTConfig


def open_clip_model(config: ModelConfig, state: dict[str, Tensor], dtype: torch.dtype) -> nn.Module:
    """On the CPU. Raises ModuleNotFoundError without the package, RuntimeError if the weights do not fit."""
    from open_clip.model import CLIP, convert_weights_to_lp  # noqa: PLC0415 - may be missing

    assert isinstance(config.image, ViTConfig)
    image, text = config.image, config.text
    vision: dict[str, Any] = {"image_size": config.image_size, "layers": image.layers, "width": image.width}
    vision |= {"patch_size": image.patch_size, "head_width": image.width // image.heads}
    words = {"context_length": text.context_length, "vocab_size": text.vocab_size, "width": text.width}
    model = CLIP(
        embed_dim=config.embed_dim,
        vision_cfg=vision,
        text_cfg={**words, "heads": text.heads, "layers": text.layers},
        quick_gelu=config.activation == "quick_gelu",
        cast_dtype=None if dtype == torch.float32 else dtype,
    )
    model.load_state_dict(state)
    if dtype != torch.float32:
        convert_weights_to_lp(model, dtype)  # its normalisations stay in float32
    return model


class FullLength(nn.Module):
    """The same towers for texts of any length: theirs takes the whole context alone."""

    def __init__(self, model: nn.Module, context_length: int) -> None:
        super().__init__()
        self._model, self._context_length = model, context_length

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, D)."""
        features: Tensor = self._model.encode_image(pixels)
        return features

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) -> (B, D)."""
        padded = F.pad(input_ids, (0, self._context_length - input_ids.shape[1]))
        features: Tensor = self._model.encode_text(padded)
        return features
