"""The labels of images as they stand: a person's word in the place of the model's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diptych.core.labels.assigned import Assigned, Floats, joined, unlabelled
from diptych.core.labels.label_set import Verdict
from diptych.core.labels.ports import Reviewed
from diptych.core.labels.threshold import Threshold, fitted
from diptych.core.types import Keys, ModelInfo

Whole = NDArray[np.int64]
NONE = -1  # in the place of a label's position: no label


@dataclass(frozen=True)
class Assignment:
    """The labels of one image, best first. `proposed` are those that the model says.

    `score` and `margin` are the model's: the score of its best label, proposed or not, and how near the image
    is to another answer. `verdict`: by a person, if there is one. `scores`: of each label in `proposed`.
    """

    labels: tuple[str, ...]
    proposed: tuple[str, ...]
    score: float
    margin: float
    verdict: Verdict | None
    scores: tuple[float, ...]


class LabelView:
    """What the images of a collection have of a label set, at one time. Making it is slow for many images."""

    def __init__(self, reviewed: Reviewed, assigned: Assigned, model: ModelInfo) -> None:
        """The verdicts count also where the model has no vector to judge."""
        self.label_set, verdicts = reviewed.label_set, reviewed.verdicts
        self.n_lapsed = reviewed.n_lapsed
        self.model = model
        self._without_vector = np.setdiff1d(np.array(list(verdicts), np.int64), assigned.keys)
        assigned = joined([assigned, unlabelled(self._without_vector)])
        definition = self.label_set.definition
        self._names = definition.names
        self._verdicts = verdicts
        self.threshold = Threshold(definition.threshold)
        if definition.precision is not None:
            given = {key: verdicts[key].labels for key in self._judged_by_both(drawn_only=True)}
            positions = {key: list(map(self._position, labels)) for key, labels in given.items()}
            self.threshold = fitted(assigned, positions, definition.precision, definition.threshold)
            assigned = assigned.above(self.threshold.min_score, many=definition.kind == "many")
        self._assigned = assigned
        self.keys = assigned.keys
        self.is_reviewed = np.isin(self.keys, np.array(list(verdicts), np.int64))  # (N,)
        by_person = self.keys[self.is_reviewed]
        said = [(key, self._position(label)) for key in by_person.tolist() for label in verdicts[key].labels]
        is_model = ~np.isin(assigned.of, by_person)
        of = np.concatenate([assigned.of[is_model], np.array([key for key, _ in said], np.int64)])
        labels = np.concatenate([assigned.labels[is_model], np.array([one for _, one in said], np.int32)])
        order = np.argsort(of, kind="stable")
        self._of, self._labels = of[order], labels[order]

    @property
    def n_images(self) -> int:
        """The number of images that have a vector, or a person's label."""
        return len(self.keys)

    @property
    def n_reviewed(self) -> int:
        """The number of images that a person has judged."""
        return int(self.is_reviewed.sum())

    @cached_property
    def contested(self) -> Keys:
        """The keys of images whose label somebody has changed that another person gave, ascending."""
        return np.array(sorted(key for key, one in self._verdicts.items() if one.disputed), np.int64)

    def uncertain(self, among: Keys | None) -> tuple[Floats, Keys]:
        """The margins and keys of images that nobody has judged, the smallest margin first, then by key.

        `among`: only of these images. Slow for many: call it in a thread.
        """
        is_open = ~self.is_reviewed if among is None else ~self.is_reviewed & np.isin(self.keys, among)
        margins, keys = self._assigned.margins[is_open], self.keys[is_open]
        order = np.lexsort((keys, margins))
        return margins[order], keys[order]

    def counts(self) -> list[int]:
        """The number of images of each label."""
        return [int(n) for n in np.bincount(self._labels, minlength=len(self._names))]

    def n_without_label(self) -> int:
        """The number of images without a label."""
        return self.n_images - len(np.unique(self._of))

    def keys_of(self, labels: Sequence[str | None]) -> Keys:
        """The keys of images with at least one of these labels, ascending; None: with no label."""
        wanted = np.array([self._position(one) for one in labels if one is not None], np.int32)
        found = np.unique(self._of[np.isin(self._labels, wanted)])
        if None in labels:
            found = np.union1d(found, np.setdiff1d(self.keys, self._of))
        return found

    def assignments(self, keys: Sequence[int]) -> dict[int, Assignment]:
        """The labels of those of these images that have a vector or a person's label, by key."""
        wanted = np.unique(np.array(keys, np.int64))
        places = np.searchsorted(self.keys, wanted)  # a pass over all keys for each page would be quadratic
        is_there = np.append(self.keys, NONE)[places] == wanted
        wanted, places = wanted[is_there], places[is_there]
        of = zip(
            wanted.tolist(),
            self._proposed(wanted),
            self._given_scores(wanted),
            self._assigned.scores[places].tolist(),
            self._assigned.margins[places].tolist(),
            strict=True,
        )
        return {
            key: _assignment(proposed, score, margin, self._verdicts.get(key), scores)
            for key, proposed, scores, score, margin in of
        }

    @property
    def n_pictures_reviewed(self) -> int:
        """The number of pictures that a person has judged: images with the same bytes count once."""
        return len({one.sha256 for one in self._verdicts.values()})

    def judged(self, *, drawn_only: bool = False) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Of each picture that a person and the model have judged, the person's labels and the model's.

        Images with the same bytes are one picture. `drawn_only`: of those that were proposed at random.
        """
        keys = self._judged_by_both(drawn_only=drawn_only)
        for key, proposed in zip(keys, self._proposed(np.array(keys, np.int64)), strict=True):
            yield self._verdicts[key].labels, proposed

    def best(self, keys: Sequence[int]) -> list[int]:
        """The position of the best label of each of these images, by the model."""
        places = np.searchsorted(self._assigned.keys, np.array(keys, np.int64))
        return [int(one) for one in self._assigned.best[places]]

    def _judged_by_both(self, *, drawn_only: bool) -> list[int]:
        """One image of each picture that a person and the model have judged."""
        no_vector = set(self._without_vector.tolist())
        said = [(key, one) for key, one in self._verdicts.items() if one.is_drawn or not drawn_only]
        return list({one.sha256: key for key, one in said if key not in no_vector}.values())

    def _proposed(self, keys: Keys) -> list[tuple[str, ...]]:
        """The labels that the model gives to each of these images."""
        labels = self._assigned.labels
        return [
            tuple(self._names[one] for one in labels[first:last].tolist())
            for first, last in self._spans(keys)
        ]

    def _given_scores(self, keys: Keys) -> list[tuple[float, ...]]:
        """The scores of the labels that the model gives to each of these images."""
        scores = self._assigned.given_scores
        return [tuple(scores[first:last].tolist()) for first, last in self._spans(keys)]

    def _spans(self, keys: Keys) -> list[tuple[int, int]]:
        """Where the labels of each of these images are: from, and up to."""
        firsts = np.searchsorted(self._assigned.of, keys).tolist()
        lasts = np.searchsorted(self._assigned.of, keys, side="right").tolist()
        return list(zip(firsts, lasts, strict=True))

    def _position(self, label: str) -> int:
        return self.label_set.definition.positions[label]


def _assignment(
    proposed: tuple[str, ...],
    score: float,
    margin: float,
    verdict: Verdict | None,
    scores: tuple[float, ...],
) -> Assignment:
    labels = proposed if verdict is None else verdict.labels
    return Assignment(labels, proposed, score, margin, verdict, scores)
