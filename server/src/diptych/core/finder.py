"""Find the nearest images on one shelf; knows nothing of texts, queries' origins or how the index works."""

from collections.abc import Collection

from diptych.core.engine import Engine
from diptych.core.filters import Filter
from diptych.core.ports import RecordStore
from diptych.core.shelf import Shelf
from diptych.core.types import Embedding, Hit, Keys
from diptych.core.writes import Writes
from diptych.errors import InvalidValue

ATTEMPTS = 3  # beside writes of what it finds
# Rows that are looked at beyond the page once it had damaged ones: two pages, and twice as many each time, so
# that it takes few rounds to get past a great many. Other searches and writes wait for one round at most.
MOST_FURTHER = 20_000


class Finder:
    """Cosine search, filtered on metadata."""

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
        exact: bool = False,
    ) -> list[Hit]:
        """(D,) -> at most k hits after the first `offset`, best first; equal cosines in order of adding.

        An image that is deleted or replaced while the search runs is in the index but no longer in the store,
        or the other way round; the search is then made again. So it is where a row of the page or before it
        turns out to be damaged, once that is out of the index: pages never overlap. Raises NotFound once the
        collection is dropped, and NotReady once its vectors are no longer by `made_by`, which made the query.
        """
        attempts, further = 0, 0
        allowed = await self._passing(shelf, filter)
        while True:
            shelf.require_kept()  # nothing is awaited between this and the search: a dropped index is closed
            shelf.require_by(made_by)
            found, cosines = await shelf.index.search(query, offset + k + further, allowed, exact=exact)
            keys: list[int] = found.tolist()
            page = keys[offset : offset + k]
            records = await self._records.by_key(page)
            lacking = set(keys).difference(records, await self._intact(keys[:offset] + keys[offset + k :]))
            if await self._without_damaged(shelf, lacking) and not lacking.isdisjoint(keys[: offset + k]):
                further = min(2 * (further or k), MOST_FURTHER)
                continue  # there are fewer each time
            hits = [
                Hit(records[key].id, float(cosine), None, records[key].metadata)
                for key, cosine in zip(page, cosines[offset:], strict=False)
                if key in records
            ]
            attempts += 1
            if len(hits) == len(page) or attempts == ATTEMPTS:
                return hits
            allowed = await self._passing(shelf, filter)

    async def _intact(self, keys: list[int]) -> list[int]:
        """Nothing is asked where there is nothing to ask."""
        return await self._records.intact(keys) if keys else []

    async def _without_damaged(self, shelf: Shelf, lacking: set[int]) -> bool:
        """Whether there were damaged ones among these, which the index lacks now."""
        found = await self._damaged(shelf, lacking) if lacking else []
        if found:
            await self._writes.run(self._lose(shelf, found))
        return bool(found)

    async def _lose(self, shelf: Shelf, keys: list[int]) -> None:
        shelf.require_kept()
        await shelf.lose(await self._damaged(shelf, keys))  # none was added again

    async def _damaged(self, shelf: Shelf, among: Collection[int]) -> list[int]:
        return await shelf.read(lambda name: self._records.damaged(name, None, among))

    async def _passing(self, shelf: Shelf, filter: Filter | None) -> Keys | None:
        """All that may be found; None for all there are. Reads the metadata of the whole collection."""
        if filter is None:
            return None
        return await shelf.read(lambda name: self._records.matching_keys(name, filter))


def require_no_min_relevance(min_relevance: float | None) -> None:
    """Raises InvalidValue: relevance is not calibrated, and a bound on nothing would be ignored silently."""
    if min_relevance is not None:
        raise InvalidValue("relevance is not calibrated for this model", "min_relevance")
