"""The vectors of one collection in one identity, in an index that follows every write."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from diptych.core.serving.ports import VectorIndex
from diptych.core.types import NO_ROWS, Embeddings


@dataclass(eq=False)
class LiveIndex:
    """An index of vectors of an identity. Changed by one write at a time (see SerialWriteQueue).

    `unindexed` are the keys of images that the index lacks: those that keep no image (`without_image`), those
    that were tried in vain (`failed`), and those that are still to be embedded (`pending`).
    """

    identity: str
    vectors: VectorIndex
    unindexed: set[int] = field(default_factory=set)
    without_image: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    newest_key: int = 0  # of all images that it has seen
    replaced_at: int = 0  # the last change of the collection that replaced images
    load_s: float | None = None  # how long reading the stored vectors took

    @property
    def pending(self) -> set[int]:
        """Keys of images that are still to be embedded."""
        return self.unindexed - self.without_image - self.failed

    async def fill(self, keys: Sequence[int], rows: Embeddings, *, replaced: bool = False) -> None:
        """Put embeddings (N, D) of existing images into the index; `replaced`: it may have others of them."""
        await self.vectors.apply(keys if replaced else (), keys, rows)
        self._forget(keys)
        self._note(keys)

    async def change(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Take images out and put others with their embeddings (N, D) in, as one change.

        If the index refuses them, the keys are unindexed, and adding their images again repairs that.
        """
        try:
            await self.vectors.apply(removed, keys, rows)
        except Exception:
            self.unindexed.update(keys)
            self.failed.update(keys)
            raise
        finally:
            self._forget(removed)
            self._note(keys)

    async def follow(self, removed: Sequence[int], keys: Sequence[int]) -> None:
        """Take images out, and note that others are to be embedded: another version made their vectors."""
        self.unindexed.update(keys)
        self._forget(removed)
        self._note(keys)
        if removed:
            await self.vectors.apply(removed, (), NO_ROWS)

    async def lose(self, keys: Sequence[int]) -> None:
        """Take out images whose files are missing. They are not tried again before they are added again."""
        self.unindexed.update(keys)
        self.failed.update(keys)
        await self.vectors.apply(keys, (), NO_ROWS)

    def _note(self, keys: Sequence[int]) -> None:
        self.newest_key = max([self.newest_key, *keys])

    def _forget(self, keys: Sequence[int]) -> None:
        """Record that these keys are in the index, or gone."""
        for kind in (self.unindexed, self.without_image, self.failed):
            kind.difference_update(keys)
