"""Hold embeddings against the truth, and say whether that is good enough. Knows no engine."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_check.findings import Finding
from diptych.bundle.encoder import Embeddings, Encoder, InputIds, Pixels
from diptych.bundle.manifest import COSINE_BOUNDS
from diptych_training.export.parity import row_cosines

Items = tuple[Pixels, InputIds]
Truth = tuple[Embeddings, Embeddings]

ALONE = 4  # items that are encoded again by themselves
ALONE_BOUND = 0.99999  # every precision is batch-invariant


def parity(tier: str, name: str, encoder: Encoder, items: Items, truth: Truth, precision: str) -> Finding:
    """Cosines of both towers, whether each item is nearest to itself, and the same items alone."""
    images, texts = encoder.encode_image(items[0]), encoder.encode_text(items[1])
    low = [float(row_cosines(*pair).min()) for pair in ((truth[0], images), (truth[1], texts))]
    own = min(_own_nearest(truth[0], images), _own_nearest(truth[1], texts))
    alone = _alone(encoder, items, images, texts)
    bound = COSINE_BOUNDS[precision]
    figures = {
        "image_cosine_min": low[0],
        "text_cosine_min": low[1],
        "own_nearest": own,
        "alone_cosine_min": alone,
    }
    is_good = min(low) >= bound and own >= 1.0 and alone >= ALONE_BOUND
    found = ", ".join(f"{figure} {value:.7g}" for figure, value in figures.items())
    return Finding(tier, "parity", name, figures, is_good, f"asked for cosines of {bound:g}: {found}")


def _own_nearest(truth: Embeddings, rows: Embeddings) -> float:
    """The share of rows to which their own true row is the nearest of all, or as near as the nearest.

    Random weights put all items close together: a cosine near 1 alone would say little.
    """
    cosines = _apart(rows, truth) @ _apart(truth, truth).T  # (N, N)
    return float((np.diag(cosines) >= cosines.max(axis=1) - 1e-6).mean())


def _apart(rows: Embeddings, truth: Embeddings) -> NDArray[np.float64]:
    """(N, D) of unit norm, from the middle of the truth."""
    off = rows.astype(np.float64) - truth.mean(axis=0, dtype=np.float64)
    unit: NDArray[np.float64] = off / np.linalg.norm(off, axis=1, keepdims=True)
    return unit


def _alone(encoder: Encoder, items: Items, images: Embeddings, texts: Embeddings) -> float:
    lows = []
    for index in range(ALONE):
        lows.append(row_cosines(encoder.encode_image(items[0][index : index + 1]), images[index : index + 1]))
        lows.append(row_cosines(encoder.encode_text(items[1][index : index + 1]), texts[index : index + 1]))
    return float(np.concatenate(lows).min())
