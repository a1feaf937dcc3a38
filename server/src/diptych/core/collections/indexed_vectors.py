"""The vectors of one collection in one identity, in an index, with the version that makes them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from diptych.core.collections.ports import RecordStore, VectorIndex
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.encoding.versions import LoadedVersion, LoadedVersions
from diptych.core.types import NO_ROWS, Embeddings, ModelInfo


@dataclass(eq=False)
class IndexedVectors:
    """An index of vectors that `version` makes. Changed by one write at a time (see SerialWriteQueue).

    `unindexed` are the keys of images that the index lacks: those that keep no image (`without_image`), those
    that were tried in vain (`failed`), and those that are still to be embedded (`pending`).
    """

    version: LoadedVersion
    index: VectorIndex
    unindexed: set[int] = field(default_factory=set)
    without_image: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    newest_key: int = 0  # of all images that it has seen
    load_s: float | None = None  # how long reading the stored vectors took
    was_current: bool = False  # it answered searches before
    is_retired: bool = False  # it is closed once nobody uses it
    n_users: int = 0

    @property
    def pipeline(self) -> EncoderPipeline:
        """What makes the vectors."""
        return self.version.pipeline

    @property
    def model(self) -> ModelInfo:
        """The model that makes the vectors."""
        return self.version.model

    @property
    def identity(self) -> str:
        """The identity of the vectors."""
        return self.version.model.identity

    @property
    def pending(self) -> set[int]:
        """Keys of images that are still to be embedded."""
        return self.unindexed - self.without_image - self.failed

    async def fill(self, keys: Sequence[int], rows: Embeddings) -> None:
        """Put embeddings (N, D) of existing images into the index."""
        await self.index.apply((), keys, rows)
        self._forget(keys)
        self._note(keys)

    async def change(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Take images out and put others with their embeddings (N, D) in, as one change.

        If the index refuses them, the keys are unindexed, and adding their images again repairs that.
        """
        try:
            await self.index.apply(removed, keys, rows)
        except Exception:
            self.unindexed.update(keys)
            self.failed.update(keys)
            raise
        finally:
            self._forget(removed)
            self._note(keys)

    async def follow(self, removed: Sequence[int], keys: Sequence[int]) -> None:
        """Take images out, and note that others are to be embedded: another pipeline made their vectors."""
        self.unindexed.update(keys)
        self._forget(removed)
        self._note(keys)
        if removed:
            await self.index.apply(removed, (), NO_ROWS)

    def _note(self, keys: Sequence[int]) -> None:
        self.newest_key = max([self.newest_key, *keys])

    def _forget(self, keys: Sequence[int]) -> None:
        """Record that these keys are in the index, or gone."""
        for kind in (self.unindexed, self.without_image, self.failed):
            kind.difference_update(keys)


class IndexOpener:
    """Opens and closes indexes of collections, with the versions that they need."""

    def __init__(
        self,
        *,
        versions: LoadedVersions,
        records: RecordStore,
        new_index: Callable[[int], VectorIndex],
        read_only: bool = False,
    ) -> None:
        """`new_index` makes an empty index of vectors of a width. `read_only`: record nothing."""
        self._read_only = read_only
        self._versions = versions
        self._records = records
        self._new_index = new_index
        self._background = TaskSet()

    async def open(self, version: LoadedVersion) -> IndexedVectors:
        """An empty index of a version, of which it is a user until it is retired."""
        version = await self._versions.acquire(version.target)
        try:
            if not self._read_only:
                await self._records.record_identity(version.model.identity, version.target)
        except BaseException:
            self._versions.release(version)
            raise
        return IndexedVectors(version, self._new_index(version.model.embed_dim))

    async def fill(self, vectors: IndexedVectors, collection: str) -> list[int]:
        """Put the stored vectors of a collection into the index, and note which images have none.

        Only inside a write. Returns the keys whose stored vector is damaged; they are unindexed, too.
        """
        began = time.monotonic()
        missing = await self._records.missing(collection, vectors.identity)
        vectors.unindexed = set(missing)
        vectors.without_image = {key for key, kept in missing.items() if not kept}
        vectors.failed = set()
        all_damaged: list[int] = []
        async for keys, rows, damaged in self._records.embeddings(collection, vectors.identity):
            await vectors.fill(keys, rows)
            all_damaged += damaged
        vectors.unindexed.update(all_damaged)
        vectors.newest_key = max([vectors.newest_key, *vectors.unindexed])
        vectors.load_s = time.monotonic() - began
        return all_damaged

    @contextmanager
    def hold(self, vectors: IndexedVectors) -> Iterator[None]:
        """Keep the vectors open inside the block, even if the collection has others meanwhile."""
        vectors.n_users += 1
        try:
            yield
        finally:
            vectors.n_users -= 1
            self._close_if_unused(vectors)

    def retire(self, vectors: IndexedVectors) -> None:
        """Close the vectors once nobody uses them any more."""
        vectors.is_retired = True
        self._close_if_unused(vectors)

    async def close(self) -> None:
        """Stop closing indexes in the background: the process ends."""
        await self._background.close()

    def _close_if_unused(self, vectors: IndexedVectors) -> None:
        if vectors.is_retired and not vectors.n_users:
            vectors.n_users = -1  # closed once
            self._background.start(self._close(vectors), f"closing an index of {vectors.version.ref}")

    async def _close(self, vectors: IndexedVectors) -> None:
        try:
            await vectors.index.close()
        finally:
            self._versions.release(vectors.version)
