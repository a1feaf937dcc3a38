"""Right labels of images, the rank of the best right candidate in a list of similarities, and recalls.

The flags of Norway and of Svalbard are one drawing: the pixels do not show which was meant. So
every label of an image is right for all images of the same source with exactly the same pixels.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings

Accepted = list[frozenset[str]]


def accepted_labels(images: Iterable[NDArray[np.uint8]], labels: Sequence[str]) -> Accepted:
    """The right labels of each of N images (S, S, 3) of one source, in the same order."""
    digests = [sha256(np.ascontiguousarray(image).data).digest() for image in images]
    labels_of: defaultdict[bytes, set[str]] = defaultdict(set)
    for digest, label in zip(digests, labels, strict=True):
        labels_of[digest].add(label)
    shared = {digest: frozenset(names) for digest, names in labels_of.items()}
    return [shared[digest] for digest in digests]


def relevance(accepted: Accepted, classes: Sequence[str]) -> NDArray[np.bool_]:
    """(N, C): whether class c is right for image n. Classes are distinct; labels outside of them never
    match.
    """
    column = {name: index for index, name in enumerate(classes)}
    relevant = np.zeros((len(accepted), len(classes)), dtype=np.bool_)
    for row, labels in enumerate(accepted):
        for label in labels:
            if label in column:
                relevant[row, column[label]] = True
    return relevant


def best_ranks(similarity: NDArray[np.float32], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N, C) similarities and (N, C) right answers -> (N,) rank of the best right candidate, 0 is first.

    A wrong candidate that ties with the best right one ranks before it, so a model whose embeddings are all
    equal scores nothing. A row without a right candidate has rank C.
    """
    best_right = np.where(relevant, similarity, -np.inf).max(axis=1, keepdims=True)  # (N, 1)
    ahead = (similarity >= best_right) & ~relevant  # (N, C)
    ranks: NDArray[np.int64] = ahead.sum(axis=1, dtype=np.int64)
    return ranks


def hit_rates(ranks: NDArray[np.int64], ks: Sequence[int]) -> dict[int, float]:
    """The share of ranks below each k: top-k accuracy, or Recall@k if each query counts once."""
    if len(ranks) == 0:
        raise ValueError("hit rates of no ranks are undefined")
    return {k: float(np.mean(ranks < k)) for k in ks}


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
