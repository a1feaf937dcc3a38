"""Metrics over the scores of all pictures: accuracies, mean average precision, area under the ROC curve."""

import numpy as np
from numpy.typing import NDArray

from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet, Split
from diptych_training.evaluate.ranking import best_ranks, hit_rates

Scores = NDArray[np.float32]  # (N, C)
Relevant = NDArray[np.bool_]  # (N, C)
TOP5 = 5


def measured(data_set: DataSet, split: Split, scores: Scores) -> dict[str, float]:
    """All metrics that fit the task, by name; the data set's own one is among them."""
    relevant = split.relevance(scores.shape[1])
    if data_set.task == "multilabel":
        return {
            "mean_average_precision": mean_average_precision(scores, relevant),
            "map_11_point": map_11_point(scores, relevant),
        }
    ranks = best_ranks(scores, relevant)
    found = {"top1": hit_rates(ranks, [1])[1]}
    if scores.shape[1] >= TOP5:
        found["top5"] = hit_rates(ranks, [TOP5])[TOP5]
    found["mean_per_class"] = mean_per_class(ranks == 0, split.labels)
    if data_set.metric == "mean_top1_top5":
        found["mean_top1_top5"] = (found["top1"] + found.get("top5", 1.0)) / 2
    if data_set.metric == "roc_auc":
        found["roc_auc"] = roc_auc(scores[:, 1] - scores[:, 0], split.labels == 1)
    return found


def mean_per_class(is_right: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """The accuracy of each class that has pictures, averaged."""
    n_right = np.bincount(labels, weights=is_right)
    n = np.bincount(labels)
    return float(np.mean(n_right[n > 0] / n[n > 0]))


def mean_average_precision(scores: Scores, relevant: Relevant) -> float:
    """The mean over classes of the precision at each right picture; a class without one counts 0."""
    return float(np.mean([_precisions(*column).mean() for column in _columns(scores, relevant)]))


def map_11_point(scores: Scores, relevant: Relevant) -> float:
    """Pascal VOC's up to 2007: the best precision at a recall of at least 0, 0.1, ... 1, averaged."""
    return float(np.mean([_eleven_points(*column) for column in _columns(scores, relevant)]))


def roc_auc(scores: NDArray[np.float32], is_positive: NDArray[np.bool_]) -> float:
    """The chance that a positive picture scores above a negative one; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # equal scores share their mean rank
    n_positive = int(is_positive.sum())
    n_negative = len(scores) - n_positive
    if not n_positive or not n_negative:
        raise ValueError("the area under the ROC curve needs pictures of both classes")
    below = float(ranks[is_positive].sum()) - n_positive * (n_positive + 1) / 2
    return below / (n_positive * n_negative)


def _columns(scores: Scores, relevant: Relevant) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    return [(scores[:, index], relevant[:, index]) for index in range(scores.shape[1])]


def _precisions(scores: NDArray[np.float32], is_right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Precision at each right picture, best score first; one 0 if there is none."""
    ordered = is_right[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    return precision[ordered] if ordered.any() else np.zeros(1)


def _eleven_points(scores: NDArray[np.float32], is_right: NDArray[np.bool_]) -> float:
    precisions = _precisions(scores, is_right)  # at recalls 1/n, 2/n, ... 1
    best_from = np.maximum.accumulate(precisions[::-1])[::-1]
    n = len(precisions)
    at = [max(0, int(np.ceil(tenth * n / 10)) - 1) for tenth in range(11)]
    return float(best_from[at].mean())
