"""Positional embeddings for another image size than the model's own; knows nothing of towers."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def positions_for(embedding: Tensor, n_cells: int, n_first: int = 1) -> Tensor:
    """(n_first + n, W) -> (n_first + n_cells, W): the first positions as they are, the others' grid resized.

    At the model's own size this is the embedding itself, so an exported graph has no trace of it.
    """
    n_own = embedding.shape[0] - n_first
    if n_own == n_cells:
        return embedding
    side, own_side = math.isqrt(n_cells), math.isqrt(n_own)
    grid = embedding[n_first:].T.reshape(1, -1, own_side, own_side)  # (1, W, own_side, own_side)
    resized = F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    return torch.cat([embedding[:n_first], resized.flatten(2)[0].T])
