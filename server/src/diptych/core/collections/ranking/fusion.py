"""One ranking made of two: images that carry the words of a query, and images that its meaning finds.

Weighted reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): in the two rankings an image gets the sum
of `weight / (SMOOTHING + rank)`. Ranks need no scale that words and cosines would have to share.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diptych.core.types import Keys

Match = Literal["meaning", "words", "both"]  # what finds the hits of a search
N_FUSED = 200  # best of each ranking that are fused
SMOOTHING = 60  # as in the paper
WORDS_WEIGHT, MEANING_WEIGHT = 1.5, 1.0  # measured in tests/benchmarks/fusion.py


def fused(words: Keys, meaning: Keys, n_fitting: int, end: int) -> Keys:
    """The first `end` keys of both rankings as one, each key once.

    First come the best N_FUSED of each by their fused ranks, of `meaning` only the first `n_fitting`, which
    may fit; then the rest of `words`, then the rest of `meaning`, each in its order. The result is the
    beginning of that for any larger `end`, so that pages do not overlap. The first max(end, N_FUSED) of
    `meaning` decide it. Without words it is `meaning`.
    """
    head = _by_ranks(words[:N_FUSED], meaning[: min(n_fitting, N_FUSED)])
    rest = words[N_FUSED:end]
    found = np.concatenate([head, rest[~are_among(rest, np.sort(head))]])
    if len(found) < end:
        found = np.concatenate([found, meaning[~np.isin(meaning, found)]])
    return found[:end]


def are_among(keys: Keys, ascending: Keys) -> NDArray[np.bool_]:
    """Whether each key is one of the others, which ascend: quick where either are few, unlike np.isin."""
    if not len(ascending):
        return np.zeros(len(keys), np.bool_)
    places = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[places] == keys
    return found


def _by_ranks(words: Keys, meaning: Keys) -> Keys:
    """All keys, those with the largest sum first; of equal ones, those of `words`."""
    scores = dict.fromkeys(words.tolist(), 0.0)  # in the order that ties keep
    for keys, weight in ((words, WORDS_WEIGHT), (meaning, MEANING_WEIGHT)):
        for rank, key in enumerate(keys.tolist(), 1):
            scores[key] = scores.get(key, 0.0) + weight / (SMOOTHING + rank)
    return np.array(sorted(scores, key=lambda key: -scores[key]), np.int64)
