"""The contrastive model: two towers and a scale (Radford et al. 2021); knows nothing of losses or files."""

import math

import torch
from torch import Tensor, nn

from diptych_training.models.config import ModelConfig, ResNetConfig
from diptych_training.models.layers import Transformer
from diptych_training.models.resnet import ModifiedResNet
from diptych_training.models.text import causal_mask, take_end_of_text
from diptych_training.models.vit import VisionTransformer

INITIAL_TEMPERATURE = 0.07  # Radford et al. 2021, 2.5


class CLIP(nn.Module):
    """Image tower under `visual.`, text tower at the top level: the original's state-dict names."""

    attn_mask: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        text = config.text
        self.config = config
        self.visual = _image_tower(config)
        self.transformer = Transformer(text.width, text.layers, text.heads, config.activation)
        self.token_embedding = nn.Embedding(text.vocab_size, text.width)
        self.positional_embedding = nn.Parameter(torch.randn(text.context_length, text.width) * 0.01)
        self.ln_final = nn.LayerNorm(text.width)
        self.text_projection = nn.Parameter(torch.randn(text.width, config.embed_dim) * text.width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / INITIAL_TEMPERATURE)))
        self.register_buffer("attn_mask", causal_mask(text.context_length), persistent=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) float, normalised -> (B, embed_dim) features, before L2 normalisation."""
        return self.visual(pixels)  # type: ignore[no-any-return]

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids with L <= context_length -> (B, embed_dim) features, before L2 normalisation.

        The mask is causal and the feature is read at the end-of-text token: what follows it changes nothing.
        """
        length = input_ids.shape[1]
        x = self.token_embedding(input_ids) + self.positional_embedding[:length]  # (B, L, W)
        x = self.transformer(x, self.attn_mask[:length, :length])
        x = take_end_of_text(self.ln_final(x), input_ids)  # (B, W)
        return x @ self.text_projection

    def forward(self, pixels: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Both towers' features: (B, embed_dim) each."""
        return self.encode_image(pixels), self.encode_text(input_ids)


def _image_tower(config: ModelConfig) -> nn.Module:
    if isinstance(config.image, ResNetConfig):
        return ModifiedResNet(config.image, config.image_size, config.embed_dim)
    return VisionTransformer(config.image, config.image_size, config.embed_dim, config.activation)


def build_model(config: ModelConfig) -> CLIP:
    """A model with fresh weights, in training mode; seed torch before it for repeatable ones."""
    return CLIP(config)
