"""Retrieval between images and texts of one source, in both directions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings
from diptych_training.evaluate.ranking import Accepted, best_ranks, hit_rates, relevance

RECALL_K = (1, 5, 10)


def text_to_image_recall(
    image_embeddings: Embeddings,
    text_embeddings: Embeddings,
    accepted: Accepted,
    texts: Sequence[str],
    ks: Sequence[int] = RECALL_K,
) -> dict[int, float]:
    """Recall@k of M texts searching N images: (N, D), (M, D) -> share of texts with a right image among k.

    Texts that are right for no image are not used as queries.
    """
    return recall_of_texts(text_embeddings @ image_embeddings.T, accepted, texts, ks)


def recall_of_texts(
    similarity: NDArray[np.float32], accepted: Accepted, texts: Sequence[str], ks: Sequence[int] = RECALL_K
) -> dict[int, float]:
    """As `text_to_image_recall`, from the (M, N) scores of the images for each text."""
    relevant = relevance(accepted, texts).T  # (M, N)
    is_query = relevant.any(axis=1)
    return hit_rates(best_ranks(similarity[is_query], relevant[is_query]), ks)


def image_to_text_recall(
    image_embeddings: Embeddings,
    text_embeddings: Embeddings,
    accepted: Accepted,
    texts: Sequence[str],
    ks: Sequence[int] = RECALL_K,
) -> dict[int, float]:
    """Recall@k of N images searching M texts: (N, D), (M, D) -> share of images with a right text among k."""
    similarity = image_embeddings @ text_embeddings.T  # (N, M)
    return hit_rates(best_ranks(similarity, relevance(accepted, texts)), ks)
