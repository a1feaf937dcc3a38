"""Trade time for memory, or start-up for pace, inside a model; what it computes stays the same."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diptych_training.models.clip import CLIP
from diptych_training.models.layers import ResidualAttentionBlock, Row
from diptych_training.models.resnet import BasicBlock, Bottleneck

COMPILED = (ResidualAttentionBlock, Bottleneck, BasicBlock)


class CheckpointedBlock(ResidualAttentionBlock):
    """Keeps its input alone during the forward pass, and computes the rest again for the backward pass."""

    def forward(self, x: Tensor, mask: Tensor | None, row: Row | None = None) -> Tensor:
        """(B, L, W) -> (B, L, W) or (B, 1, W)."""
        if not torch.is_grad_enabled():
            return super().forward(x, mask, row)
        return checkpoint(super().forward, x, mask, row, use_reentrant=False)  # type: ignore[no-any-return]


def checkpoint_blocks(model: nn.Module) -> None:
    """Gradient checkpointing (Chen et al. 2016) in every transformer block.

    Stages of a ResNet are left alone: their batch normalisation would count each batch twice.
    """
    for module in model.modules():
        if type(module) is ResidualAttentionBlock:
            module.__class__ = CheckpointedBlock  # copies and state dicts stay what they are


def compile_blocks(model: CLIP) -> None:
    """torch.compile for the blocks of both towers: like ones share what was compiled."""
    for module in model.modules():
        if isinstance(module, COMPILED):
            module.compile()
