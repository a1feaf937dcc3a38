"""Use cases of label sets: define, read, review."""

import asyncio
import builtins
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.collections.metadata.filters import KeyIn
from diptych.core.collections.service import Collections
from diptych.core.collections.stored.ports import Rows
from diptych.core.labels.agreement import Accuracy, Agreement, accuracy_of, agreement_of
from diptych.core.labels.assigned import Assigner
from diptych.core.labels.assignments import Assignments
from diptych.core.labels.label_set import Definition, LabelSet, NewVerdict, Verdict, check_name
from diptych.core.labels.ports import Given, LabelRows
from diptych.core.labels.review import Proposals, Review
from diptych.core.labels.threshold import Threshold
from diptych.core.labels.view import Assignment, LabelView
from diptych.core.serving.snapshot import Serving
from diptych.core.types import ImageRecord, Keys, ModelInfo
from diptych.errors import InvalidValue

EXPORTED_AT_ONCE = 1_000


@dataclass(frozen=True)
class AlikeLabels:
    """Two labels that the text encoder hardly separates, and their cosine."""

    labels: tuple[str, str]
    cosine: float


@dataclass(frozen=True)
class PutLabelSet:
    """A set that was created or changed.

    `n_dropped`: verdicts that it does not allow, one a picture, those on pictures that are gone included.
    """

    label_set: LabelSet
    alike: list[AlikeLabels]
    n_dropped: int


@dataclass(frozen=True)
class LabelSetReport:
    """A set with what it gives the images: how many have each of its labels, in order.

    `n_lapsed`: verdicts on pictures that no image has now, as it was replaced or deleted. `n_contested`:
    images whose label somebody has changed that another person gave.
    """

    label_set: LabelSet
    model: ModelInfo
    n_images: int
    n_reviewed: int
    n_lapsed: int
    n_contested: int
    counts: list[int]
    n_without_label: int
    agreement: Agreement
    accuracy: Accuracy
    threshold: Threshold


@dataclass(frozen=True)
class LabelledImage:
    """The id of an image, the sha256 of its bytes, and its labels."""

    id: str
    sha256: str
    assignment: Assignment


@dataclass(frozen=True)
class LabelPage:
    """A page of images. `next` is the `after` of the next page; `total`: images on all pages."""

    images: list[LabelledImage]
    next: str | None
    total: int
    model: ModelInfo


@dataclass(frozen=True)
class LabelQuery:
    """Which images to list. `label`: a text, "" for images without a label, None for all.

    `contested`: only those whose label somebody has changed that another person gave. With `uncertain_first`,
    those that a person has not judged, the smallest margin first; else all by id.
    """

    label: str | None = None
    contested: bool = False
    uncertain_first: bool = False
    after: str | None = None
    limit: int = 100


class LabelSets:
    """The label sets of all collections.

    Every method raises NotFound when there is no collection or set of the name, and StoreError when the data
    folder fails. What looks at images raises Conflict when the collection is not served, Overloaded and
    NotReady.
    """

    def __init__(
        self,
        *,
        collections: Collections,
        serving: Serving,
        store: LabelRows,
        rows: Rows,
        assignments: Assignments,
        review: Review,
    ) -> None:
        self._collections = collections
        self._serving = serving
        self._store = store
        self._rows = rows
        self._assignments = assignments
        self._review = review

    async def put(
        self, collection: str, name: str, definition: Definition, *, drops: bool = False
    ) -> PutLabelSet:
        """Create a set, or change it. Verdicts stay, but for those that the definition does not allow.

        Raises InvalidValue, TooLarge; Conflict if verdicts would be dropped and not `drops`.
        """
        c = self._collections[collection]
        check_name(name)
        definition.check()
        with self._serving.use() as snapshot:
            assigner = await Assigner.of(definition, c.require_served(snapshot).version.classifier)
        alike = await asyncio.to_thread(assigner.alike)
        label_set, n_dropped = await self._store.put(c.number, name, definition, drops=drops)
        names = definition.names
        return PutLabelSet(
            label_set, [AlikeLabels((names[i], names[j]), cosine) for i, j, cosine in alike], n_dropped
        )

    async def list(self, collection: str) -> builtins.list[LabelSet]:
        """The sets of a collection, by name."""
        return await self._store.list(self._collections[collection].number)

    async def report(self, collection: str, name: str) -> LabelSetReport:
        """A set with what it gives the images now."""
        _, view = await self._view(collection, name)

        def make() -> LabelSetReport:
            return LabelSetReport(
                label_set=view.label_set,
                model=view.model,
                n_images=view.n_images,
                n_reviewed=view.n_reviewed,
                n_lapsed=view.n_lapsed,
                n_contested=len(view.contested),
                counts=view.counts(),
                n_without_label=view.n_without_label(),
                agreement=agreement_of(view.judged()),
                accuracy=accuracy_of(view.judged(drawn_only=True)),
                threshold=view.threshold,
            )

        return await asyncio.to_thread(make)

    async def drop(self, collection: str, name: str) -> None:
        """Delete a set with its verdicts."""
        await self._store.drop(self._collections[collection].number, name)

    async def images(self, collection: str, name: str, query: LabelQuery) -> LabelPage:
        """One page of images with their labels; those with neither vector nor verdict are left out.

        Raises InvalidValue for a label that the set lacks, and for the page of another order.
        """
        c, view = await self._view(collection, name)
        keys = await _chosen(view, query)
        if query.uncertain_first:
            return await self._uncertain(view, keys, query)
        return await self._by_id(c, view, keys, query.after, query.limit)

    async def export(self, collection: str, name: str, query: LabelQuery) -> AsyncIterator[LabelPage]:
        """All images by id after `query.after`, with their labels of one time. Raises as `images`."""
        c, view = await self._view(collection, name)
        keys, after = await _chosen(view, query), query.after
        while True:
            page = await self._by_id(c, view, keys, after, EXPORTED_AT_ONCE)
            yield page
            if page.next is None:
                return
            after = page.next

    async def proposals(self, collection: str, name: str, limit: int) -> Proposals:
        """At most `limit` images to review next; none if all are reviewed."""
        c, view = await self._view(collection, name)
        return await self._review.proposals(c, view, limit)

    async def give(self, collection: str, name: str, verdicts: Sequence[NewVerdict], by: str) -> Given:
        """Store what a person says of images, in the place of what was said before, all or none.

        Raises InvalidValue for labels that the set does not allow.
        """
        return await self._store.give(self._collections[collection].number, name, verdicts, by)

    async def withdraw(self, collection: str, name: str, id: str) -> Verdict:
        """Withdraw what was said of an image, and return it: what another key had said stands again.

        Raises NotFound if nothing was said.
        """
        return await self._store.withdraw(self._collections[collection].number, name, id)

    async def _view(self, collection: str, name: str) -> tuple[int, LabelView]:
        c = self._collections[collection].number
        return c, await self._assignments.view(c, name)

    async def _by_id(
        self, c: int, view: LabelView, keys: Keys | None, after: str | None, limit: int
    ) -> LabelPage:
        records = await self._rows.page(c, after, limit + 1, None if keys is None else KeyIn(keys))
        page = records[:limit]
        found = await self._rows.by_key(await self._rows.keys(c, [one.id for one in page]))
        images = await asyncio.to_thread(_labelled, view, found, sorted(found, key=lambda key: found[key].id))
        return LabelPage(
            images,
            page[-1].id if len(records) > limit else None,
            view.n_images if keys is None else len(keys),
            view.model,
        )

    async def _uncertain(self, view: LabelView, among: Keys | None, query: LabelQuery) -> LabelPage:
        margins, keys = await asyncio.to_thread(view.uncertain, among)
        is_later = np.ones(len(keys), np.bool_)
        if query.after is not None:
            margin, key = _place(query.after)
            is_later = (margins > margin) | ((margins == margin) & (keys > key))
        chosen = np.flatnonzero(is_later)[: query.limit + 1]
        page = keys[chosen[: query.limit]].tolist()
        found = await self._rows.by_key(page)
        last = chosen[query.limit - 1] if len(chosen) > query.limit else None
        return LabelPage(
            await asyncio.to_thread(_labelled, view, found, page),
            None if last is None else f"{float(margins[last])!r}_{keys[last]}",
            len(keys),
            view.model,
        )


def _labelled(view: LabelView, found: Mapping[int, ImageRecord], keys: Sequence[int]) -> list[LabelledImage]:
    """The images with these keys, in order, that are found and have labels."""
    assignments = view.assignments(keys)
    return [
        LabelledImage(found[key].id, found[key].sha256, assignments[key])
        for key in keys
        if key in found and key in assignments
    ]


async def _chosen(view: LabelView, query: LabelQuery) -> Keys | None:
    """The keys of the images that are wanted; None for all."""
    contested = view.contested if query.contested else None
    if query.label is None:
        return contested
    if query.label:
        view.label_set.definition.check_labels([query.label], "label")
    found = await asyncio.to_thread(view.keys_of, [query.label or None])
    return found if contested is None else np.intersect1d(found, contested)


def _place(after: str) -> tuple[np.float32, int]:
    """The margin and key that a cursor names. Raises InvalidValue."""
    margin, _, key = after.partition("_")
    try:
        place = np.float32(margin), int(key)
    except ValueError:
        place = np.float32(np.nan), 0
    if not np.isfinite(place[0]):
        raise InvalidValue(f"{after[:80]!r} is no `next` of a page with uncertain_first", "after")
    return place
