"""The next snapshot while it is filled: a version, and vectors that it makes of the collections that move."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from diptych.core.collections.stored.collection import Collection
from diptych.core.concurrency.shared import Shared
from diptych.core.rollout.compare import Moving
from diptych.core.rollout.parts import RolloutParts
from diptych.core.rollout.types import Progress
from diptych.core.serving.snapshot import Pair
from diptych.core.serving.version import Version
from diptych.core.serving.versions import OnStep
from diptych.core.types import Target, VersionRef
from diptych.errors import NotReady
from diptych.failpoints import around

ROW_BYTES = 100  # of a vector in the database, in addition to its numbers
MARGIN = 1.5  # for the log of the database, and for memory that grows by doubling


@dataclass(eq=False)
class Filling:
    """Loads a version and gives collections vectors of it. `keep_bundles` keeps a copy of the version, in
    addition to the copies that are needed already.
    """

    parts: RolloutParts
    target: Target
    keep_bundles: Callable[[VersionRef], Awaitable[None]]
    version: Shared[Version] | None = None
    _stays: set[Collection] = field(default_factory=set)
    _began: float = 0.0
    _n_at_begin: int = 0
    _last_counts: tuple[int, int] = (0, 0)  # which stay after the switch

    async def load(self, on_step: OnStep = lambda step: None) -> None:
        """Load the version, and prove that it works here. Raises BundleError, EncoderFailed, ConfigError,
        NotFound, NotReady, StoreError.
        """
        with around("rollout_load"):
            self.version = await self.parts.versions.acquire(self.target, on_step)
        await self.keep_bundles(self.target.ref)

    async def begin(self, on_stay: Callable[[Collection, str], object], *, fills: bool = True) -> None:
        """Give all collections that can move vectors in the next snapshot; others keep what they have.

        `fills`: this server makes the vectors that are missing. Raises StoreFull, Conflict.
        """
        assert self.version is not None, "loaded before"
        await self.parts.collections.moves.begin(self.version)
        await self.prepare(on_stay)
        await self._require_room(fills=fills)
        self._began, (_, self._n_at_begin) = time.monotonic(), self._counts()

    async def prepare(self, on_stay: Callable[[Collection, str], object]) -> None:
        """Prepare collections that are not there yet."""
        for collection in list(self.parts.collections):
            if collection in self._stays or self._is_there(collection):
                continue
            pair = await self.parts.collections.moves.prepare(collection)
            if pair is not None and (n_unkept := len(pair.index.without_image)):
                await self.parts.collections.moves.leave(collection)
                self._stays.add(collection)
                on_stay(
                    collection,
                    f"{n_unkept} of {collection.n_images} rows keep no image that could be embedded",
                )

    async def train(self) -> None:
        """Fit the indexes to their rows, before searches use them."""
        for collection, pair in self.moving():
            await self.parts.collections.moves.train(collection, pair)

    async def end(self) -> None:
        """Drop the next snapshot, unless it answers; the stored vectors stay."""
        with suppress(NotReady):  # the server stops, and closes all vectors
            await self.parts.collections.moves.abandon()

    def release(self) -> None:
        """Let the version be closed, unless a snapshot has it."""
        if self.version is not None:
            self.version.release()

    def moving(self) -> list[Moving]:
        """The collections that move, each with its vectors in the next snapshot."""
        next = self.parts.serving.next
        pairs: Mapping[int, Pair] = {} if next is None else next.pairs
        return [(one, pairs[one.number]) for one in self.parts.collections if one.number in pairs]

    def progress(self, *, is_embedding: bool) -> Progress:
        """How far the images have come."""
        n_images, n_embedded = self._counts()
        if not self._began:  # a collection that is not prepared has no vectors that could be counted
            return Progress(n_images, 0)
        elapsed_s, n_new = time.monotonic() - self._began, n_embedded - self._n_at_begin
        if not is_embedding or n_new <= 0 or elapsed_s <= 0:
            return Progress(n_images, n_embedded)
        rate = n_new / elapsed_s
        return Progress(n_images, n_embedded, rate, (n_images - n_embedded) / rate)

    def _is_there(self, collection: Collection) -> bool:
        """Whether it has vectors of the version already, or is new."""
        assert self.version is not None and self.parts.serving.next is not None, "begun before"
        if collection.number in self.parts.serving.next.pairs:
            return True
        return collection.pair is not None and collection.pair.version is self.version.value

    async def _require_room(self, *, fills: bool) -> None:
        """Raises StoreFull, Conflict."""
        disk = memory = 0
        for _, pair in self.moving():
            row_bytes = 4 * pair.model.embed_dim
            disk += len(pair.index.pending) * (row_bytes + ROW_BYTES) if fills else 0
            memory += len(pair.index.pending) * row_bytes
        await asyncio.to_thread(
            self.parts.free_space.require, disk_bytes=int(MARGIN * disk), memory_bytes=int(MARGIN * memory)
        )

    def _counts(self) -> tuple[int, int]:
        """(images, images with a vector of the new identity) of all collections that move"""
        if counts := [progress_of(*moving) for moving in self.moving()]:
            self._last_counts = sum(n for n, _ in counts), sum(n for _, n in counts)
        return self._last_counts


def progress_of(collection: Collection, pair: Pair) -> tuple[int, int]:
    """(images, images with a vector of the new identity)"""
    return collection.n_images, collection.n_images - len(pair.index.unindexed)
