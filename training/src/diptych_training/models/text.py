"""Where a causal text tower looks and where its feature is read; knows nothing of words."""

import torch
from torch import Tensor


def causal_mask(length: int) -> Tensor:
    """(L, L) additive mask: a position sees itself and what stands before it."""
    return torch.full((length, length), float("-inf")).triu(1)


def take_end_of_text(x: Tensor, input_ids: Tensor) -> Tensor:
    """(B, L, W) and (B, L) -> (B, W) at each row's end-of-text token, which has the largest id (CLIP)."""
    return x[torch.arange(x.shape[0], device=x.device), input_ids.argmax(dim=-1)]
