"""Port of serving: an index."""

from collections.abc import Sequence
from typing import Protocol

from diptych.core.types import Embedding, Embeddings, IndexPlacement, Keys


class VectorIndex(Protocol):
    """Nearest neighbours in one collection. Calls may overlap; each sees complete changes only."""

    @property
    def recall(self) -> float:
        """The share of the true nearest neighbours that a search finds."""
        ...

    @property
    def placement(self) -> IndexPlacement:
        """The device that searches run on now."""
        ...

    async def apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Remove the keys `removed` and add `rows` (N, D) under `keys`, atomically for searches."""
        ...

    async def search(
        self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False
    ) -> tuple[Keys, Embedding]:
        """Return at most k (keys, cosines), best first; among `allowed` keys only, if given.

        With `exact`, all rows are compared, even if `recall` is below 1 otherwise.
        """
        ...

    async def close(self) -> None:
        """Wait for running calls and free the index."""
        ...
