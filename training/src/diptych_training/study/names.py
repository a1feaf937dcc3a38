"""The figures of a series of models, by the name alone: errors among few and among all names, cross-entropy.

Errors near 1 hide how far a small model has come; cross-entropy shows it. Its scale is fitted on validation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.evaluate.ranking import accepted_labels, best_ranks, hit_rates, relevance
from diptych_training.evaluate.validation import source_classes
from diptych_training.evaluate.zero_shot import top_k
from diptych_training.progress import each
from diptych_training.study.cells import MEASURED
from diptych_training.study.name_scores import NameScores, Rows
from diptych_training.study.results import Scores
from diptych_training.study.samples import sampled

SCALES = np.geomspace(1, 300, 40)  # steps of 16%


def on_names(scorer: NameScores, dataset: PackedDataset, names: int) -> Scores:
    """On each held-out source: `error` among at most so many names, `error_of_all` and `nll_of_all` among all
    names of the source, with the numbers of pictures.

    `nll` is the mean negative log-probability of the right names; `nll_of_all_sd` is its deviation.
    """
    scale, scores = best_scale(scorer, dataset.sources("validation")), Scores()
    for source in each(dataset.sources(MEASURED), unit="source", desc=scorer.model.name):
        few, (found, relevant) = sampled(source, names, len(source.items)), _scored(scorer, source)
        among_few = scorer(few.images, few.classes)[""]
        losses = name_losses(found, relevant, scale)
        scores[source.name] = {
            "error": 1 - top_k(among_few, few.accepted, few.classes, [1])[1],
            "n": len(few.images),
            "error_of_all": 1 - hit_rates(best_ranks(found, relevant), [1])[1],
            "nll_of_all": float(losses.mean()),
            "nll_of_all_sd": float(losses.std()),
            "n_of_all": len(losses),
        }
    return scores


def best_scale(scorer: NameScores, sources: Sequence[PackedSource]) -> float:
    """The scale of scores with the least cross-entropy, the mean over the sources."""
    losses = np.zeros(len(SCALES))
    for source in sources:
        found, relevant = _scored(scorer, source)
        losses += [name_losses(found, relevant, scale).mean() for scale in SCALES]
    return float(SCALES[losses.argmin()])


def name_losses(scores: Rows, relevant: NDArray[np.bool_], scale: float) -> NDArray[np.float64]:
    """(N, C) scores and right names -> (N,) negative log-probabilities of the right names together."""
    logits = scale * scores.astype(np.float64)
    of_all = np.logaddexp.reduce(logits, axis=1)
    losses: NDArray[np.float64] = of_all - np.logaddexp.reduce(np.where(relevant, logits, -np.inf), axis=1)
    return losses


def _scored(scorer: NameScores, source: PackedSource) -> tuple[Rows, NDArray[np.bool_]]:
    """(N, C) scores of all names of the source, and which are right."""
    classes = source_classes(source)
    accepted = accepted_labels(source.images, [item.label for item in source.items])
    return scorer(source.images, classes)[""], relevance(accepted, classes)
