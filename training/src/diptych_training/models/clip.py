"""The contrastive model: two towers, a logit scale and an optional bias.

Covers Radford et al. 2021 (CLIP) and Zhai et al. 2023 (SigLIP); the configuration alone decides.
"""

import math
from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.config import (
    EfficientNetLiteConfig,
    ModelConfig,
    PhotographsAndDrawingsConfig,
    PooledViTConfig,
    ResNetConfig,
    TextConfig,
    TextTowerConfig,
    ViTConfig,
    WordPiecesConfig,
)
from diptych_training.models.efficientnet_lite import EfficientNetLite
from diptych_training.models.layers import Block, Row, Transformer
from diptych_training.models.photographs_and_drawings import PhotographsAndDrawings
from diptych_training.models.pooled_vit import PooledVisionTransformer
from diptych_training.models.resnet import ModifiedResNet
from diptych_training.models.vit import VisionTransformer
from diptych_training.models.word_pieces import WordPieces

ImageTower = (
    ModifiedResNet | VisionTransformer | PooledVisionTransformer | EfficientNetLite | PhotographsAndDrawings
)

GROUP_SIZE = 32  # texts per group of similar length in training


class CLIP(nn.Module):
    """The image tower under `visual.`, the text tower at the top level, as in the original's state dict.

    A tower of word pieces, which the original does not have, is under `word_pieces.`.
    """

    attn_mask: Tensor | None
    visual_head: nn.Linear | None  # the second layer of a non-linear projection (Zhang et al. 2020)
    text_head: nn.Linear | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = image_tower(config)
        if isinstance(config.text, WordPiecesConfig):
            self.word_pieces = WordPieces(config.text, config.embed_dim, _block(config, config.text))
        else:
            self._add_transformer(config, config.text)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(config.initial_scale)))
        self.logit_bias = (
            None if config.initial_bias is None else nn.Parameter(torch.tensor(config.initial_bias))
        )
        is_linear = config.projection == "linear"
        self.visual_head = None if is_linear else nn.Linear(config.embed_dim, config.embed_dim)
        self.text_head = None if is_linear else nn.Linear(config.embed_dim, config.embed_dim)

    def _add_transformer(self, config: ModelConfig, text: TextConfig) -> None:
        self.transformer = Transformer(_block(config, text), text.layers)
        self.token_embedding = nn.Embedding(text.vocab_size, text.width)
        self.positional_embedding = nn.Parameter(torch.randn(text.context_length, text.width) * 0.01)
        self.ln_final = nn.LayerNorm(text.width, eps=config.norm_eps)
        self.text_projection = nn.Parameter(torch.randn(text.width, config.embed_dim) * text.width**-0.5)
        self.text_projection_bias = (
            nn.Parameter(torch.zeros(config.embed_dim)) if text.projection_bias else None
        )
        mask = causal_mask(text.context_length) if text.causal else None
        self.register_buffer("attn_mask", mask, persistent=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def encode_image(self, pixels: Tensor, *pooled: Tensor) -> Tensor:
        """(B, 3, S, S) float, normalised -> (B, embed_dim) features, before L2 normalisation.

        A tower of photographs and drawings takes what its locked part made of them before, in `pooled`.
        """
        return _projected(self.visual(pixels, *pooled), self.visual_head)

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids with L <= context_length -> (B, embed_dim) features, before L2 normalisation.

        L may be the longest text of the batch if padding changes nothing: word pieces mask it, and a causal
        transformer that pools at the end-of-text token never reads it. Otherwise L must be the context
        length.
        """
        if isinstance(self.config.text, WordPiecesConfig):
            return _projected(self.word_pieces(input_ids), self.text_head)
        length = input_ids.shape[1]
        mask = None if self.attn_mask is None else self.attn_mask[:length, :length]
        x = self.token_embedding(input_ids) + self.positional_embedding[:length]  # (B, L, W)
        x = self.transformer(x, mask, feature_row(input_ids, self.config.text.pool))  # (B, W)
        features: Tensor = self.ln_final(x) @ self.text_projection
        if self.text_projection_bias is not None:
            features = features + self.text_projection_bias
        return _projected(features, self.text_head)

    def encode_text_start(self, input_ids: Tensor, n: int) -> Tensor:
        """(B, L) ids -> (B, n), the first numbers of `encode_text`, without what only the others need."""
        text = self.config.text
        if isinstance(text, WordPiecesConfig) and self.text_head is None and n <= text.mean_dim:
            return self.word_pieces.mean(input_ids)[:, :n]
        return self.encode_text(input_ids)[:, :n]

    def route_logits(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids -> (B, 1): the logits of the shares of the first half of a routed text tower."""
        return self.word_pieces.route_logits(input_ids)

    def forward(self, images: Tensor, input_ids: Tensor, *pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Both towers' features: (B, embed_dim) each. `images`: pixels, or their features, (B, embed_dim)."""
        features = images if images.ndim == 2 else self.encode_image(images, *pooled)
        return features, self._encode_text_by_length(input_ids)

    def _encode_text_by_length(self, input_ids: Tensor) -> Tensor:
        """`encode_text` in groups of similar length, which is faster and exact where padding changes nothing.

        Not used on a GPU, where fewer launches win, nor in an exported graph, whose groups would be fixed.
        """
        n_groups = input_ids.shape[0] // GROUP_SIZE
        if (
            n_groups < 2
            or self.config.text.sees_padding
            or input_ids.is_cuda
            or torch.compiler.is_compiling()
        ):
            return self.encode_text(input_ids)
        groups, position = by_length(input_ids, n_groups)
        features = [self.encode_text(input_ids[rows, :longest]) for rows, longest in groups]
        return torch.cat(features)[position]


def _projected(features: Tensor, head: nn.Linear | None) -> Tensor:
    """(B, D) -> (B, D): with a non-linear projection, through its ReLU and second layer."""
    return features if head is None else head(F.relu(features))


def image_tower(config: ModelConfig) -> ImageTower:
    """Build the image tower alone, with fresh weights."""
    image, size, embed_dim = config.image, config.image_size, config.embed_dim
    if isinstance(image, ResNetConfig):
        return ModifiedResNet(image, size, embed_dim)
    if isinstance(image, ViTConfig):
        return VisionTransformer(image, size, embed_dim, _block(config, image))
    if isinstance(image, PooledViTConfig):
        return PooledVisionTransformer(image, size, _block(config, image))
    if isinstance(image, EfficientNetLiteConfig):
        return EfficientNetLite(image, embed_dim)
    if isinstance(image, PhotographsAndDrawingsConfig):
        return PhotographsAndDrawings(image, size, embed_dim)
    assert_never(image)


def _block(config: ModelConfig, tower: ViTConfig | PooledViTConfig | TextTowerConfig) -> Block:
    mlp_width = None if isinstance(tower, ViTConfig) else tower.mlp_width
    own = tower.activation if isinstance(tower, TextConfig | WordPiecesConfig) else None
    return Block(tower.width, tower.heads, own or config.activation, mlp_width, config.norm_eps)


def build_model(config: ModelConfig) -> CLIP:
    """Build a model with fresh weights, in training mode; seed torch before it for reproducible ones."""
    return CLIP(config)


LAST = -1


def causal_mask(length: int) -> Tensor:
    """(L, L) additive mask: a position attends to itself and to earlier ones."""
    return torch.full((length, length), float("-inf")).triu(1)


def feature_row(input_ids: Tensor, pool: str) -> Row:
    """(B, L) -> the position of each text's feature: the last one, or the end-of-text token, which has the
    largest id.
    """
    return LAST if pool == "last" else input_ids.argmax(dim=-1)


def by_length(input_ids: Tensor, n_groups: int) -> tuple[list[tuple[Tensor, int]], Tensor]:
    """(B, L) -> groups of rows of similar length, each with its longest length, and the position of each row
    in the groups.

    A text ends with its end-of-text token. To restore the order of the batch, index the `torch.cat` of the
    groups' results with the returned positions.
    """
    lengths = input_ids.argmax(dim=-1) + 1  # (B,)
    order = lengths.argsort(stable=True)
    groups = [(rows, int(lengths[rows[-1]])) for rows in order.chunk(n_groups)]
    return groups, order.argsort()


def grouped_length(input_ids: Tensor) -> float:
    """(B, L) -> the mean over rows of the longest length of their group, in which training computes them."""
    groups, _ = by_length(input_ids, max(1, len(input_ids) // GROUP_SIZE))
    return sum(len(rows) * longest for rows, longest in groups) / len(input_ids)
