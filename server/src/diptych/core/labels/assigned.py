"""What a label set gives the images of a collection, computed from their vectors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diptych.core.classification import scoring
from diptych.core.classification.classify import choose_templates
from diptych.core.classification.label_classifier import LabelClassifier, Scorer
from diptych.core.labels.label_set import Definition
from diptych.core.types import Embeddings, Keys

Positions = NDArray[np.int32]  # of labels in their set
Floats = NDArray[np.float32]
MAX_CELLS = 2_000_000  # images x labels whose scores are held at once: some 10 MB
MAX_OF_AN_IMAGE = 32  # labels that an image may be given, those with the largest scores
ALIKE = 0.98  # the cosine above which the text encoder hardly separates two labels
MAX_ALIKE = 100  # pairs that are named


@dataclass(frozen=True, eq=False)
class Assigned:
    """What the model says of N images, by key, ascending.

    `best`: the label with the largest cosine, with its `scores`. `margins`: how near the image is to another
    answer. `labels` (M,) with `given_scores` are given to images with the keys `of`, ascending: an image may
    occur there several times, best first, or never.
    """

    keys: Keys
    best: Positions
    scores: Floats
    margins: Floats
    of: Keys
    labels: Positions
    given_scores: Floats

    def without(self, keys: Keys) -> "Assigned":
        """The same without these images."""
        stays, is_of = ~np.isin(self.keys, keys), ~np.isin(self.of, keys)
        return Assigned(
            self.keys[stays],
            self.best[stays],
            self.scores[stays],
            self.margins[stays],
            self.of[is_of],
            self.labels[is_of],
            self.given_scores[is_of],
        )

    def above(self, threshold: float, *, many: bool) -> "Assigned":
        """The same without labels that score below a threshold, for images that have labels at any score.

        `many`: whether images may have many labels. Then only those that are given count for the margins.
        """
        least = np.float32(threshold)
        if many:
            firsts = np.flatnonzero(np.diff(self.of, prepend=-1))
            margins = self.margins.copy()
            if len(firsts):
                distances = np.minimum.reduceat(np.abs(self.given_scores - least), firsts)
                margins[np.searchsorted(self.keys, self.of[firsts])] = distances
        else:
            margins = np.minimum(self.margins, np.abs(self.scores - least)) if threshold else self.margins
        passes = self.given_scores >= least
        return replace(
            self,
            margins=margins,
            of=self.of[passes],
            labels=self.labels[passes],
            given_scores=self.given_scores[passes],
        )

    @property
    def n_bytes(self) -> int:
        """The memory that it takes."""
        return sum(part.nbytes for part in vars(self).values())


NOTHING = Assigned(
    np.empty(0, np.int64),
    np.empty(0, np.int32),
    np.empty(0, np.float32),
    np.empty(0, np.float32),
    np.empty(0, np.int64),
    np.empty(0, np.int32),
    np.empty(0, np.float32),
)


@dataclass(frozen=True, eq=False)
class Assigner:
    """A definition with the embeddings (C, D) of its labels: assigns labels to embeddings."""

    definition: Definition
    rows: Embeddings
    score: Scorer

    @classmethod
    async def of(cls, definition: Definition, classifier: LabelClassifier) -> "Assigner":
        """Embed the labels. One with words has the mean of all of them, scaled to unit norm.

        Raises as `LabelClassifier.classify`, and InvalidValue for a template set that the model lacks.
        """
        templates = choose_templates(definition.templates, classifier.prompts)
        texts = definition.texts
        found = (await classifier.classifier(texts, templates)).rows  # one a text
        if len(texts) > len(definition.labels):
            place = {text: i for i, text in enumerate(texts)}
            groups = ([place[text] for text in one.texts] for one in definition.labels)
            found = scoring.normalised(np.stack([found[group].mean(axis=0) for group in groups]))
        many = definition.kind == "many"
        return cls(definition, found, await classifier.scorer(templates, multi_label=many))

    def assign(self, keys: Sequence[int], rows: Embeddings) -> Assigned:
        """Assign labels to images with embeddings (N, D), keys ascending. Slow: call it in a thread."""
        step = max(1, MAX_CELLS // len(self.rows))
        starts = range(0, len(keys), step)
        parts = [self._part(keys[start : start + step], rows[start : start + step]) for start in starts]
        return joined(parts)

    def alike(self) -> list[tuple[int, int, float]]:
        """At most MAX_ALIKE pairs of labels with a cosine above ALIKE, each with that."""
        found = list[tuple[int, int, float]]()
        step = max(1, MAX_CELLS // len(self.rows))
        for start in range(0, len(self.rows), step):
            cosines = self.rows[start : start + step] @ self.rows.T  # (step, C)
            for i, j in np.argwhere(np.triu(cosines > ALIKE, k=start + 1)).tolist():
                found.append((start + i, j, float(cosines[i, j])))
                if len(found) == MAX_ALIKE:
                    return found
        return found

    def _part(self, keys: Sequence[int], rows: Embeddings) -> Assigned:
        cosines, scores = self.score(rows, self.rows)  # (N, C) each
        best = cosines.argmax(axis=1)  # not by score: scores saturate and then tie
        of_best = np.take_along_axis(scores, best[:, np.newaxis], axis=1)[:, 0]
        numbers, many = np.array(keys, np.int64), self.definition.kind == "many"
        threshold = 0.0 if self.definition.precision is not None else self.definition.threshold
        given = _first_of_many(cosines, scores >= threshold) if many else _only(scores, best, threshold)
        where, labels = np.nonzero(given)
        order = np.lexsort((-cosines[where, labels], where))
        where, labels = where[order], labels[order]
        margins = np.abs(scores - threshold).min(axis=1) if many else _margins(scores, best, threshold)
        return Assigned(
            numbers,
            best.astype(np.int32),
            of_best.astype(np.float32),
            margins.astype(np.float32),
            numbers[where],
            labels.astype(np.int32),
            scores[where, labels].astype(np.float32),
        )


def joined(parts: Sequence[Assigned]) -> Assigned:
    """All parts as one, by key. No image is in two of them."""
    if not parts:
        return NOTHING
    keys = np.concatenate([one.keys for one in parts])
    of = np.concatenate([one.of for one in parts])
    order, order_of = np.argsort(keys, kind="stable"), np.argsort(of, kind="stable")
    return Assigned(
        keys[order],
        np.concatenate([one.best for one in parts])[order],
        np.concatenate([one.scores for one in parts])[order],
        np.concatenate([one.margins for one in parts])[order],
        of[order_of],
        np.concatenate([one.labels for one in parts])[order_of],
        np.concatenate([one.given_scores for one in parts])[order_of],
    )


def unlabelled(keys: Keys) -> Assigned:
    """Images that the model gives no label, with a score of 0."""
    n = len(keys)
    zeros = np.zeros(n, np.float32)
    return replace(NOTHING, keys=keys, best=np.zeros(n, np.int32), scores=zeros, margins=zeros)


def _only(scores: scoring.Scores, best: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
    """Give each of N images its best label, unless that scores below the threshold: (N, C)."""
    given = np.zeros(scores.shape, np.bool_)
    np.put_along_axis(given, best[:, np.newaxis], True, axis=1)
    is_given: NDArray[np.bool_] = given & (scores >= threshold)
    return is_given


def _first_of_many(cosines: scoring.Cosines, passes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Leave each image at most MAX_OF_AN_IMAGE of the labels that pass, those with the largest cosines."""
    if cosines.shape[1] > MAX_OF_AN_IMAGE:
        rows = np.flatnonzero(passes.sum(axis=1) > MAX_OF_AN_IMAGE)
        found = np.where(passes[rows], -cosines[rows], 2)
        first = np.argpartition(found, MAX_OF_AN_IMAGE - 1, axis=1)[:, :MAX_OF_AN_IMAGE]
        passes[rows] = False
        passes[rows[:, np.newaxis], first] = True
    return passes


def _margins(scores: scoring.Scores, best: NDArray[np.int64], threshold: float) -> scoring.Scores:
    """By how much the best label of each image beats the next one, and the threshold if there is one."""
    of_best = np.take_along_axis(scores, best[:, np.newaxis], axis=1)[:, 0]
    others = scores.copy()
    np.put_along_axis(others, best[:, np.newaxis], 0.0, axis=1)
    margins: scoring.Scores = of_best - others.max(axis=1)
    return np.minimum(margins, np.abs(of_best - threshold)) if threshold else margins
