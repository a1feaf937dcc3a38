"""From cosines to scores, in pure numpy."""

import numpy as np
from numpy.typing import NDArray

from diptych.core.types import Embeddings

Cosines = NDArray[np.float32]  # (N, C), of N images and C classes
Scores = NDArray[np.float32]  # (N, C)


def zero_shot_logits(cosines: Cosines, logit_scale: float) -> Scores:
    """Scaled cosines of N images and C classes: (N, C) -> (N, C). Radford et al. 2021, 3.1.2."""
    logits: Scores = np.float32(logit_scale) * cosines
    return logits


def softmax(logits: Scores) -> Scores:
    """Softmax over the last axis; the maximum is subtracted first, so that no exponential overflows."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Scores = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: Scores) -> Scores:
    """1 / (1 + exp(-x)), computed with tanh, which does not overflow."""
    probabilities: Scores = (0.5 * (1.0 + np.tanh(0.5 * logits))).astype(np.float32)
    return probabilities


def against_empty(logits: Scores, empty_logits: Scores) -> Scores:
    """Each class against the empty label: (N, C), (N, 1) -> (N, C).

    The two-way softmax of (class, empty) is the sigmoid of their difference. CLIP's logits have no zero of
    their own, so a plain sigmoid of them would always be near 1.
    """
    return sigmoid(logits - empty_logits)


def top_k(scores: NDArray[np.float32], k: int | None) -> NDArray[np.int64]:
    """Positions of the k largest of (C,), best first, ties in the given order; all positions if k is None.

    NaN comes last. Only values as large as the k-th are sorted, which gives the order of a full sort.
    """
    falling = -scores
    if k is None or not 0 < k < len(scores):
        order: NDArray[np.int64] = np.argsort(falling, kind="stable")[:k]
        return order
    kth = np.partition(falling, k - 1)[k - 1]
    candidates = np.flatnonzero(~(falling > kth))  # in the given order; comparisons with NaN are false
    best: NDArray[np.int64] = candidates[np.argsort(falling[candidates], kind="stable")[:k]]
    return best


def normalised(rows: Embeddings) -> Embeddings:
    """Scale rows to unit norm over the last axis; a row of zeros stays zero."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: Embeddings = (rows / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit
