"""Assignments of label sets, computed when they are first needed and brought up to date from then on."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import numpy as np

from diptych.core.collections.metadata.filters import All, AnyOf, Filter, KeyIn, Labelled, Not
from diptych.core.collections.stored.ports import Rows, VectorRows
from diptych.core.concurrency.single_flight import SingleFlight
from diptych.core.labels.assigned import NOTHING, Assigned, Assigner, joined
from diptych.core.labels.label_set import LabelSet
from diptych.core.labels.ports import LabelRows, Reviewed
from diptych.core.labels.view import LabelView
from diptych.core.serving.snapshot import Pair, Serving
from diptych.core.types import Keys, ModelInfo
from diptych.errors import Conflict, InvalidValue, NotFound

MAX_BYTES = 200_000_000  # of assignments in memory: twenty sets of a collection of 250,000 images


@dataclass(frozen=True, eq=False)
class Current:
    """What a version assigned to the images that had a vector at the change `change` of the collection."""

    assigned: Assigned
    change: int
    model: ModelInfo


@dataclass(frozen=True)
class _Place:
    """What assignments are made of. Both numbers are never used again, so that no entry is ever wrong."""

    label_set: int
    revision: int
    identity: str


class Assignments:
    """The labels that images have now: by the version that answers for their collection, or by a person.

    What was computed is kept, also that of the version before, for a rollback. A changed collection has only
    its new vectors looked at. Satisfies `core.collections.stored.ports.FilterResolver`.
    """

    def __init__(self, *, serving: Serving, labels: LabelRows, rows: Rows, vectors: VectorRows) -> None:
        self._serving = serving
        self._labels = labels
        self._rows = rows
        self._vectors = vectors
        self._known: OrderedDict[_Place, Current] = OrderedDict()
        self._flights: SingleFlight[tuple[int, int], Current] = SingleFlight()
        self._one_at_a_time = asyncio.Lock()  # each holds the scores of a few thousand images

    async def view(self, c: int, name: str) -> LabelView:
        """The labels of the images of a collection by one of its sets.

        Raises NotFound, Conflict; and as `Assigner.of`.
        """
        return await self._view(c, await self._labels.reviewed(c, name))

    async def resolved(self, c: int, filter: Filter) -> Filter:
        """The filter with the keys of images in the place of labels.

        Raises InvalidValue for a label set or label that is not there; as `view`.
        """
        match filter:
            case Labelled():
                return KeyIn(await self._keys(c, filter))
            case All(parts):
                return All(tuple([await self.resolved(c, part) for part in parts]))
            case AnyOf(parts):
                return AnyOf(tuple([await self.resolved(c, part) for part in parts]))
            case Not(part):
                return Not(await self.resolved(c, part))
        return filter

    async def _keys(self, c: int, filter: Labelled) -> Keys:
        try:
            reviewed = await self._labels.reviewed(c, filter.label_set)
        except NotFound as error:
            raise InvalidValue(error.message, f"{filter.where}.set") from None
        for label in filter.labels:
            if label is not None:
                reviewed.label_set.definition.check_labels([label], f"{filter.where}.in")
        view = await self._view(c, reviewed)
        return await asyncio.to_thread(view.keys_of, filter.labels)

    async def _view(self, c: int, reviewed: Reviewed) -> LabelView:
        current = await self._current(c, reviewed.label_set)
        return await asyncio.to_thread(LabelView, reviewed, current.assigned, current.model)

    async def _current(self, c: int, label_set: LabelSet) -> Current:
        """Assignments of all images that had a vector when this was called."""
        change = await self._vectors.last_change(c)
        found = self._known.get(_Place(label_set.number, label_set.revision, self._pair(c).identity))
        # What another caller began to compute may be older than this call.
        while found is None or found.change < change or found.model.identity != self._pair(c).identity:
            key = (label_set.number, label_set.revision)
            found = await self._flights.get(key, partial(self._update, c, label_set))
        return found

    async def _update(self, c: int, label_set: LabelSet) -> Current:
        async with self._one_at_a_time:
            with self._serving.use(), self._pair(c).use() as pair:
                place = _Place(label_set.number, label_set.revision, pair.identity)
                current = await self._computed(c, label_set, pair, self._known.get(place))
                self._known[place] = current
                self._known.move_to_end(place)
                while len(self._known) > 1 and self._n_bytes() > MAX_BYTES:
                    self._known.popitem(last=False)
                return current

    async def _computed(self, c: int, label_set: LabelSet, pair: Pair, known: Current | None) -> Current:
        try:
            assigner = await Assigner.of(label_set.definition, pair.version.classifier)
        except InvalidValue as error:
            raise Conflict(
                f"label set {label_set.name!r} does not go with {pair.model.ref}: {error}"
            ) from None
        before = NOTHING if known is None else known.assigned
        parts, change = list[Assigned](), None
        async for page in self._vectors.since(c, pair.identity, 0 if known is None else known.change):
            change = page.change if change is None else change  # later pages may have later vectors
            if page.keys:
                parts.append(await asyncio.to_thread(assigner.assign, page.keys, page.rows))
        there = await self._rows.keys(c)
        assert change is not None, "there is one page at least"
        assigned = await asyncio.to_thread(_merged, before, parts, np.array(there, np.int64))
        return Current(assigned, change, pair.model)

    def _pair(self, c: int) -> Pair:
        pair = self._serving.current.pairs.get(c)
        if pair is None:
            raise Conflict("the collection is not served, so that no version assigns labels to its images")
        return pair

    def _n_bytes(self) -> int:
        return sum(one.assigned.n_bytes for one in self._known.values())


def _merged(before: Assigned, parts: list[Assigned], there: Keys) -> Assigned:
    """The newest assignments of images that are still there."""
    added = joined(parts)
    gone = np.setdiff1d(before.keys, there, assume_unique=True)
    whole = joined([before.without(np.concatenate([gone, added.keys])), added])
    late = np.setdiff1d(added.keys, there, assume_unique=True)  # deleted since their vectors were read
    return whole.without(late) if len(late) else whole
