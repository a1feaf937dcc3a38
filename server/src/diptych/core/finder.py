"""Find the nearest images on one shelf; knows nothing of texts, queries' origins or how the index works."""

from diptych.core.engine import Engine
from diptych.core.filters import Filter
from diptych.core.ports import RecordStore
from diptych.core.shelf import Shelf
from diptych.core.types import Embedding, Hit
from diptych.errors import InvalidValue

ATTEMPTS = 3


class Finder:
    """Exact cosine search, filtered on metadata."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

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
        or the other way round; the search is then made again. Raises NotFound once the collection is dropped,
        and NotReady once its vectors are no longer by `made_by`, which made the query.
        """
        hits: list[Hit] = []
        for _ in range(ATTEMPTS):
            allowed = None if filter is None else await self._records.matching_keys(shelf.name, filter)
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
                break
        return hits


def require_no_min_relevance(min_relevance: float | None) -> None:
    """Raises InvalidValue: relevance is not calibrated, and a bound on nothing would be ignored silently."""
    if min_relevance is not None:
        raise InvalidValue("relevance is not calibrated for this model", "min_relevance")
