"""Find the nearest images on one shelf; knows nothing of texts, queries' origins or how the index works."""

from diptych.core.engine import Engine
from diptych.core.filters import Filter
from diptych.core.ports import RecordStore
from diptych.core.shelf import Shelf
from diptych.core.types import Embedding, Hit, Keys
from diptych.core.writes import Writes
from diptych.errors import InvalidValue

ATTEMPTS = 3  # beside writes of what it finds


class Finder:
    """Exact cosine search, filtered on metadata."""

    def __init__(self, records: RecordStore, writes: Writes) -> None:
        self._records = records
        self._writes = writes

    async def nearest(
        self,
        shelf: Shelf,
        query: Embedding,
        *,
        k: int,
        offset: int,
        filter: Filter | None,
        made_by: Engine | None = None,
    ) -> list[Hit]:
        """(D,) -> at most k hits after the first `offset`, best first; equal cosines in order of adding.

        An image that is deleted or replaced while the search runs is in the index but no longer in the store,
        or the other way round; the search is then made again. So it is where a row turns out to be damaged,
        once that is out of the index. Raises NotFound once the collection is dropped, and NotReady once its
        vectors are no longer by `made_by`, which made the query.
        """
        attempts = 0
        while True:
            allowed = None if filter is None else await self._passing(shelf, filter)
            shelf.require_kept()  # nothing is awaited between this and the search: a dropped index is closed
            shelf.require_by(made_by)
            keys, cosines = await shelf.index.search(query, offset + k, allowed)
            page = [int(key) for key in keys[offset:]]
            records = await self._records.by_key(page)
            hits = [
                Hit(records[key].id, float(cosine), None, records[key].metadata)
                for key, cosine in zip(page, cosines[offset:], strict=True)
                if key in records
            ]
            if len(hits) == len(page):
                return hits
            if await self._without_damaged(shelf, set(page) - records.keys()):
                continue  # there are fewer each time
            attempts += 1
            if attempts == ATTEMPTS:
                return hits

    async def _without_damaged(self, shelf: Shelf, lacking: set[int]) -> bool:
        """Whether there were damaged ones among these, which the index lacks now."""
        found = lacking.intersection(await self._damaged(shelf))
        if found:
            await self._writes.run(self._lose(shelf, found))
        return bool(found)

    async def _lose(self, shelf: Shelf, keys: set[int]) -> None:
        shelf.require_kept()
        await shelf.lose(sorted(keys.intersection(await self._damaged(shelf))))  # none was added again

    async def _damaged(self, shelf: Shelf) -> list[int]:
        return await shelf.read(lambda name: self._records.damaged(name, None))

    async def _passing(self, shelf: Shelf, filter: Filter) -> Keys:
        return await shelf.read(lambda name: self._records.matching_keys(name, filter))


def require_no_min_relevance(min_relevance: float | None) -> None:
    """Raises InvalidValue: relevance is not calibrated, and a bound on nothing would be ignored silently."""
    if min_relevance is not None:
        raise InvalidValue("relevance is not calibrated for this model", "min_relevance")
