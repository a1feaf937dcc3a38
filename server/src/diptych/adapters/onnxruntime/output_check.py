"""Refuse what an encoder answers when it is no embeddings; knows nothing of what computed it."""

import numpy as np

from diptych.bundle.encoder import Embeddings
from diptych.errors import EncoderFailed

# Normalisation is done in the graph, in float16 at worst: a row further from 1 is no embedding.
MAX_NORM_ERROR = 1e-2


def require_embeddings(rows: Embeddings, n_items: int, name: str) -> Embeddings:
    """The same (B, D) rows; `name` is what the graph calls them. Raises EncoderFailed."""
    if rows.ndim != 2 or len(rows) != n_items:
        raise EncoderFailed(f"the encoder answered shape {rows.shape} to a batch of {n_items}")
    norms = np.linalg.norm(rows, axis=1)  # (B,)
    if not np.all(np.abs(norms - 1.0) <= MAX_NORM_ERROR):  # false for NaN as well
        raise EncoderFailed(f"{name} has rows that are not finite or not of unit norm")
    return rows
