"""Chooses the images that a person should look at next."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from diptych.core.collections.stored.duplicates import same_pictures
from diptych.core.collections.stored.ports import Rows, VectorRows
from diptych.core.labels.assigned import Assigner
from diptych.core.labels.label_set import LabelSet
from diptych.core.labels.proposals import in_random_order, proposed
from diptych.core.labels.view import Assignment, LabelView
from diptych.core.relevance.relevance import Relevance
from diptych.core.serving.snapshot import Serving
from diptych.core.types import Embedding, ImageContent, ImageRecord, ModelInfo

CANDIDATES = 10  # for one proposal: the others may be near duplicates of it


@dataclass(frozen=True)
class Proposal:
    """An image to review. `is_drawn`: at random. `fits_none`: perhaps none of the labels fits."""

    id: str
    sha256: str
    assignment: Assignment
    is_drawn: bool
    fits_none: bool


@dataclass(frozen=True)
class Proposals:
    """The next images to review, of the `n_unreviewed` ones."""

    images: list[Proposal]
    n_unreviewed: int
    label_set: LabelSet
    model: ModelInfo


class Review:
    """Proposes images for review."""

    def __init__(self, *, serving: Serving, rows: Rows, vectors: VectorRows) -> None:
        self._serving = serving
        self._rows = rows
        self._vectors = vectors

    async def proposals(self, c: int, view: LabelView, limit: int) -> Proposals:
        """At most `limit` images, see `proposed`; one at least if any is not reviewed.

        Raises Overloaded, NotReady.
        """
        _, unreviewed = await asyncio.to_thread(view.uncertain, None)
        at_random = await asyncio.to_thread(in_random_order, unreviewed, view.label_set.number)
        uncertain, drawn = unreviewed[: CANDIDATES * limit].tolist(), at_random[: CANDIDATES * limit].tolist()
        records = await self._rows.by_key([*{*uncertain, *drawn}])
        uncertain, drawn = ([key for key in keys if key in records] for keys in (uncertain, drawn))
        groups = await self._groups({key: records[key] for key in [*uncertain, *drawn]})
        chosen = proposed(uncertain, drawn, groups, view.n_pictures_reviewed, limit)
        keys = [key for key, _ in chosen]
        assignments, without = view.assignments(keys), await self._fitting_none(c, view, keys)
        images = [
            Proposal(records[key].id, records[key].sha256, assignments[key], is_drawn, key in without)
            for key, is_drawn in chosen
        ]
        return Proposals(images, len(unreviewed), view.label_set, view.model)

    async def _groups(self, records: dict[int, ImageRecord]) -> dict[int, int]:
        """The group of near duplicates of each of these images, by key."""
        hashes = await self._rows.hashes(list(records))
        contents = [
            ImageContent(key, one.id, one.sha256, one.kept, hashes.get(key)) for key, one in records.items()
        ]
        found = await asyncio.to_thread(same_pictures, contents, {})
        keys = {one.id: key for key, one in records.items()}
        return {key: key for key in records} | {keys[id]: keys[ids[0]] for ids in found for id in ids}

    async def _fitting_none(self, c: int, view: LabelView, keys: list[int]) -> set[int]:
        """Those of these images that not even their best label may fit; none of them if that is unknown.

        It is the relevance of a search for the label among this image alone: a label of a set is for many
        images, and a search says of the best ones only that they fit.
        """
        with self._serving.use() as snapshot:
            pair = snapshot.pairs.get(c)
            if pair is None or pair.identity != view.model.identity:
                return set()
            assigner = await Assigner.of(view.label_set.definition, pair.version.classifier)
            relevance = Relevance(pair.version.calibration)
        vectors = await self._vectors.of(keys, pair.identity)
        best = {key: assigner.rows[label] for key, label in zip(keys, view.best(keys), strict=True)}
        return await asyncio.to_thread(_irrelevant, relevance, best, vectors)


def _irrelevant(
    relevance: Relevance, queries: Mapping[int, Embedding], vectors: Mapping[int, Embedding]
) -> set[int]:
    """The images that may not fit their query; both (D,), by key."""
    found = set[int]()
    for key, vector in vectors.items():
        cosine = vector @ queries[key]
        relevances = relevance.of(queries[key], np.array([cosine]), float(cosine), n_images=1)
        if relevances is not None and not relevance.fits(relevances[0]):
            found.add(key)
    return found
