"""Port of serving: an index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from diptych.core.types import Embedding, Embeddings, IndexPlacement, IndexRecall, Keys


@dataclass(frozen=True, eq=False)
class Restored:
    """What an index has read from its files: all that changes of the collection up to the number `change`
    have added, and perhaps more. Its `keys` may be of images that are gone.
    """

    change: int = 0
    keys: Keys = field(default_factory=lambda: np.empty(0, np.int64))


class VectorIndex(Protocol):
    """Nearest neighbours in one collection. Calls may overlap; each sees complete changes only."""

    @property
    def recall(self) -> IndexRecall:
        """The share of the true nearest neighbours that searches find."""
        ...

    @property
    def placement(self) -> IndexPlacement:
        """What searches run on now."""
        ...

    @property
    def memory_bytes(self) -> int:
        """The bytes that the vectors take in memory."""
        ...

    @property
    def needs_training(self) -> bool:
        """Whether `train` would make it better."""
        ...

    @property
    def needs_saving(self) -> bool:
        """Whether `save` would spare the next start much work."""
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

    async def train(self, name: str, texts: Mapping[str, Embeddings], title: str) -> None:
        """Fit it to its rows, and measure its recall by queries (N, D), `names` and `nouns`.

        Searches and changes go on meanwhile. Files that it may need are called `name`, which is unique for a
        collection and an identity; the log calls it by its `title`. Raises NotReady once it is closed.
        """
        ...

    async def save(self, name: str, change: int) -> None:
        """Write it to the files of this name; it has all changes up to `change`. Raises StoreError."""
        ...

    async def restore(self, name: str, last_change: int, title: str) -> Restored:
        """Read the files of this name into the empty index, if there are any that can be used.

        `last_change` is that of the store. Files with a later one are of another store, and removed.
        """
        ...

    async def close(self, *, forget: bool = False) -> None:
        """Wait for running calls and free the index; with `forget` remove its files."""
        ...
