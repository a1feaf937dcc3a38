"""Where a text tower looks and where its feature is read; knows nothing of words."""

import torch
from torch import Tensor


def causal_mask(length: int) -> Tensor:
    """(L, L) additive mask: a position sees itself and what stands before it."""
    return torch.full((length, length), float("-inf")).triu(1)


def take_feature(x: Tensor, input_ids: Tensor, pool: str) -> Tensor:
    """(B, L, W) and (B, L) -> (B, W), at the end-of-text token or at the last position."""
    return x[:, -1] if pool == "last" else take_end_of_text(x, input_ids)


def take_end_of_text(x: Tensor, input_ids: Tensor) -> Tensor:
    """(B, L, W) and (B, L) -> (B, W) at each row's end-of-text token, which has the largest id (CLIP)."""
    return x[torch.arange(x.shape[0], device=x.device), input_ids.argmax(dim=-1)]


def by_length(input_ids: Tensor, n_groups: int) -> tuple[list[tuple[Tensor, int]], Tensor]:
    """(B, L) -> groups of rows of like length, each with its longest, and where each row went.

    A text ends with its end-of-text token. `torch.cat` of what is made of the groups, indexed by the last
    value, is in the order of the batch again.
    """
    lengths = input_ids.argmax(dim=-1) + 1  # (B,)
    order = lengths.argsort(stable=True)
    groups = [(rows, int(lengths[rows[-1]])) for rows in order.chunk(n_groups)]
    return groups, order.argsort()
