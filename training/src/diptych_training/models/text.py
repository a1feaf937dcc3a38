"""Where a text tower looks and where its feature is read; knows nothing of words."""

import torch
from torch import Tensor

from diptych_training.models.layers import Row

LAST = -1


def causal_mask(length: int) -> Tensor:
    """(L, L) additive mask: a position sees itself and what stands before it."""
    return torch.full((length, length), float("-inf")).triu(1)


def feature_row(input_ids: Tensor, pool: str) -> Row:
    """(B, L) -> where each text is read: at its end-of-text token, which has the largest id, or the last."""
    return LAST if pool == "last" else input_ids.argmax(dim=-1)


def by_length(input_ids: Tensor, n_groups: int) -> tuple[list[tuple[Tensor, int]], Tensor]:
    """(B, L) -> groups of rows of like length, each with its longest, and where each row went.

    A text ends with its end-of-text token. `torch.cat` of what is made of the groups, indexed by the last
    value, is in the order of the batch again.
    """
    lengths = input_ids.argmax(dim=-1) + 1  # (B,)
    order = lengths.argsort(stable=True)
    groups = [(rows, int(lengths[rows[-1]])) for rows in order.chunk(n_groups)]
    return groups, order.argsort()
