"""The least score that gives an image a label, fitted to the precision that is wanted."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from diptych.core.labels.agreement import Share
from diptych.core.labels.assigned import Assigned

MIN_DRAWN = 20  # pictures that were drawn at random: a threshold is fitted from so many on
UNREACHED = 2.0  # above every score: no image has a label


@dataclass(frozen=True)
class Threshold:
    """The least score of a label of an image.

    `fitted_on`: drawn pictures that it was fitted on, 0 for one that was not. `right`: how many of the labels
    that the model gives these pictures at this threshold are right; of none where no score reaches it.
    """

    min_score: float
    fitted_on: int = 0
    right: Share = field(default_factory=lambda: Share(0, 0))


def fitted(
    assigned: Assigned, said: Mapping[int, Collection[int]], precision: float, otherwise: float
) -> Threshold:
    """Find the lowest threshold at which the share `precision` of the labels is right.

    `said`: the labels, by position, that people gave to pictures that were drawn at random, by key. If no
    score reaches the precision, the highest one with the largest share is taken; UNREACHED if that would be
    the lowest one, or nothing is right: the scores do not tell right from wrong then. With few pictures it is
    `otherwise`.
    """
    if len(said) < MIN_DRAWN:
        return Threshold(otherwise)
    keys = np.array(sorted(said), np.int64)
    chosen = np.flatnonzero(np.isin(assigned.of, keys))
    chosen = chosen[np.argsort(-assigned.given_scores[chosen], kind="stable")]
    scores = assigned.given_scores[chosen]
    pairs = zip(assigned.of[chosen].tolist(), assigned.labels[chosen].tolist(), strict=True)
    n_right = np.cumsum([label in said[key] for key, label in pairs])
    shares = n_right / np.arange(1, len(scores) + 1)
    shares[:-1][scores[:-1] == scores[1:]] = -1  # labels of one score all pass, or none of them
    reached = np.flatnonzero(shares >= precision)
    last = int(reached[-1]) if len(reached) else int(shares.argmax())
    is_all = last == len(scores) - 1
    if not len(reached) and (is_all or not n_right[last]):
        return Threshold(UNREACHED, len(said))
    return Threshold(0.0 if is_all else float(scores[last]), len(said), Share(last + 1, int(n_right[last])))
