"""One ranking of what several collections have found by meaning and by words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.collections.ranking.fusion import N_FUSED, Match, fused
from diptych.core.collections.ranking.searcher import Candidates
from diptych.core.relevance.relevance import Relevance
from diptych.core.types import Embedding, Keys


@dataclass(frozen=True, eq=False)
class Ranking:
    """What a query (D,) has found: images by their cosine, and images that carry its words, both best first.

    `relevance` judges hits among the `n_images` that were compared.
    """

    query: Embedding
    relevance: Relevance
    near: Keys  # (N,)
    cosines: Embedding  # (N,)
    carriers: Keys
    n_images: int

    def first(self, end: int, match: Match) -> Keys:
        """The first `end` images."""
        if match == "words":
            return self.carriers[:end]
        if not len(self.carriers):
            return self.near[:end]
        fits = [self.relevance.fits(one) for one in self.judged(self.cosines[:N_FUSED].tolist())]
        n_fitting = fits.index(False) if False in fits else len(fits)
        return fused(self.carriers, self.near, n_fitting, end)

    def judged(self, cosines: Sequence[float]) -> Sequence[float | None]:
        """The relevance of images with these cosines; None where it is unknown."""
        best = float(self.cosines[0]) if len(self.cosines) else 0.0
        found = self.relevance.of(
            self.query, np.array(cosines, np.float32), best=best, n_images=self.n_images
        )
        return [None] * len(cosines) if found is None else found


def ranking_of(candidates: Sequence[Candidates], query: Embedding, relevance: Relevance) -> Ranking:
    """Rank the candidates of all collections for a query (D,)."""
    near = np.concatenate([one.keys for one in candidates])
    cosines = np.concatenate([one.cosines for one in candidates])
    carriers = np.concatenate([one.words.keys for one in candidates])
    if len(candidates) > 1:
        order = _by_cosine(candidates, near)
        near, cosines = near[order], cosines[order]
        scores = np.concatenate([one.words.scores for one in candidates])
        carriers = carriers[np.argsort(-scores, kind="stable")]
    return Ranking(query, relevance, near, cosines, carriers, sum(one.n_compared for one in candidates))


def _by_cosine(candidates: Sequence[Candidates], keys: Keys) -> Keys:
    """The order of the hits of all collections: N of N.

    Each collection keeps its own order, in which an approximate index has a hit after others with lower
    cosines if it found the hit late: by its cosine it would be on a page that was shown already.
    """
    places = np.concatenate([np.arange(len(one.keys)) for one in candidates])
    bounds = np.concatenate([np.minimum.accumulate(one.cosines) for one in candidates])
    return np.lexsort((keys, places, -bounds))
