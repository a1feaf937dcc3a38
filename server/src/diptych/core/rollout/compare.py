"""Compare the results of a version with those of the version that serves, before the switch."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from diptych.core.collections.collection import LoadedCollection
from diptych.errors import Conflict

# Collections that move, with their new precision setting -> a JSON object. Raises Conflict when a gate is
# not met.
Compare = Callable[[Mapping[LoadedCollection, str]], Awaitable[Mapping[str, Any]]]


def require_coverage(collections: Iterable[LoadedCollection]) -> None:
    """Raise Conflict if an image is found today that would not be found any more."""
    for collection in collections:
        if collection.next is None or collection.dropped:
            continue
        found_now = set() if collection.current is None else collection.current.unindexed
        lost = collection.next.failed - found_now
        if lost and collection.current is not None:
            raise Conflict(
                f"{len(lost)} of {collection.n_images} images of collection {collection.name!r} cannot be "
                "embedded and would not be found any more: `diptych check --data-dir` names them"
            )


async def compare_nothing(collections: Mapping[LoadedCollection, str]) -> Mapping[str, Any]:
    """Compare nothing, for servers without a comparison."""
    return {}
