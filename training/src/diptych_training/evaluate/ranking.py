"""How high the best right candidate stands in a list of similarities; knows nothing of images or texts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def best_ranks(similarity: NDArray[np.float32], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N, C) similarities and (N, C) right answers -> (N,) rank of the best right candidate, 0 is first.

    A wrong candidate that ties with the best right one stands before it: a model whose embeddings are all
    equal scores nothing. A row without a right candidate has rank C.
    """
    best_right = np.where(relevant, similarity, -np.inf).max(axis=1, keepdims=True)  # (N, 1)
    ahead = (similarity >= best_right) & ~relevant  # (N, C)
    ranks: NDArray[np.int64] = ahead.sum(axis=1, dtype=np.int64)
    return ranks


def hit_rates(ranks: NDArray[np.int64], ks: Sequence[int]) -> dict[int, float]:
    """Share of the ranks below each k: top-k accuracy, or Recall@k when each query counts once."""
    if len(ranks) == 0:
        raise ValueError("hit rates of no ranks are undefined")
    return {k: float(np.mean(ranks < k)) for k in ks}
