"""One rollout, from the files of a version to the switch."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from diptych.core.collections.service import Collections
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.ports import VectorRows
from diptych.core.collections.upkeep.reembed import Pace
from diptych.core.concurrency.shared import Shared
from diptych.core.rollout.compare import Compare, Moving, require_coverage
from diptych.core.rollout.ports import Bundles, FreeSpace, RolloutStore
from diptych.core.rollout.types import (
    CollectionMove,
    CollectionProgress,
    Progress,
    Rollout,
    RolloutState,
    ServedVersions,
)
from diptych.core.serving.snapshot import Pair, Serving
from diptych.core.serving.version import Version
from diptych.core.serving.versions import Versions
from diptych.core.types import Target, VersionRef
from diptych.errors import NotReady
from diptych.failpoints import around

log = logging.getLogger(__name__)

BLOCKING_ROWS = 16  # images that may be embedded in the write of the switch, in which adds wait
NOT_KEPT = "images were added that it does not keep"
ROW_BYTES = 100  # of a vector in the database, in addition to its numbers
MARGIN = 1.5  # for the log of the database, and for memory that grows by doubling
REPORT_PROGRESS_S = 60.0  # between lines of the log


@dataclass(frozen=True)
class RolloutParts:
    """The dependencies of rollouts."""

    versions: Versions
    serving: Serving
    collections: Collections
    bundles: Bundles
    store: RolloutStore
    vectors: VectorRows
    free_space: FreeSpace
    compare: Compare


@dataclass(eq=False)
class RolloutRun:
    """Runs one rollout. `save` stores each new state; `pace` gives way to requests. `keep_bundles` keeps a
    copy of the version, in addition to the copies that are needed already. `wanted`: see ServedVersions.
    `on_switched` is called at the switch.
    """

    parts: RolloutParts
    rollout: Rollout
    save: Callable[[Rollout], Awaitable[None]]
    pace: Callable[[], Pace]
    keep_bundles: Callable[[VersionRef], Awaitable[None]]
    wanted: str
    on_switched: Callable[["RolloutRun"], None]
    version: Shared[Version] | None = None
    _began: float = 0.0
    _n_at_begin: int = 0
    _last_counts: tuple[int, int] = (0, 0)  # which stay after the switch

    async def run(self) -> None:
        """Run to the switch. What it raises leaves everything as it was, but for the stored vectors.

        Raises BundleError, EncoderFailed, ConfigError, NotFound, Conflict, StoreError, NotReady.
        """
        try:
            await self._run()
        except BaseException:
            await asyncio.shield(self._abandon())
            raise
        finally:
            if self.version is not None:
                self.version.release()

    def progress(self) -> Progress:
        """How far the images have come."""
        n_images, n_embedded = self._counts()
        if not self._began:  # a collection that is not prepared has no vectors that could be counted
            return Progress(n_images, 0)
        elapsed_s, n_new = time.monotonic() - self._began, n_embedded - self._n_at_begin
        if self.rollout.state != "embedding" or n_new <= 0 or elapsed_s <= 0:
            return Progress(n_images, n_embedded)
        rate = n_new / elapsed_s
        return Progress(n_images, n_embedded, rate, (n_images - n_embedded) / rate)

    def of_collections(self) -> Mapping[str, CollectionProgress]:
        """How far each collection has come, by its present name."""
        return {
            collection.name: CollectionProgress(self.rollout, *_progress_of(collection, pair))
            for collection, pair in self._moving()
        }

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        await self._set("discovered")
        with around("rollout_load"):
            self.version = await self.parts.versions.acquire(
                self.rollout.target, lambda step: loop.call_soon_threadsafe(self._note, step)
            )
        await self.keep_bundles(self.rollout.target.ref)
        if self.wanted in await asyncio.to_thread(self.parts.bundles.precisions, self.rollout.target.ref):
            self.wanted = self.rollout.target.precision
        await self._prepare()
        await self._set("embedding")
        reporting = asyncio.create_task(self._report_progress())
        try:
            await self._embed()
        finally:
            reporting.cancel()
        await self._compare()
        await self._switch_to_the_end()

    def _note(self, step: RolloutState) -> None:
        """Show a step of loading; it is not stored, since loading starts again after a restart."""
        if self.rollout.state in {"discovered", "verified", "proven"}:
            self.rollout = replace(self.rollout, state=step)
            self._report()

    def _report(self) -> None:
        log.info("rollout to %s: %s", self.rollout.target.exact, self.rollout.state)

    async def _report_progress(self) -> None:
        """Log how far the images are, once in a while."""
        while True:
            await asyncio.sleep(REPORT_PROGRESS_S)
            found = self.progress()
            if found.images_per_s is not None and found.eta_s is not None:
                log.info(
                    "rollout to %s: %d of %d images are embedded, %.1f a second, about %.0f s left",
                    self.rollout.target.exact,
                    found.n_embedded,
                    found.n_images,
                    found.images_per_s,
                    found.eta_s,
                )

    async def _set(self, state: RolloutState, **changes: Any) -> None:
        self.rollout = replace(self.rollout, state=state, **changes)
        self._report()
        await self.save(self.rollout)

    async def _prepare(self) -> None:
        """Give all collections that move vectors in the next snapshot. Others keep what they have."""
        assert self.version is not None, "loaded before"
        await self.parts.collections.moves.begin(self.version)
        self.rollout = replace(self.rollout, stays={})  # after a restart, collections may have changed
        for collection in list(self.parts.collections):
            if not self._is_there(collection):
                await self._prepare_one(collection)
        await self._require_room()
        self._began, (_, self._n_at_begin) = time.monotonic(), self._counts()

    def _is_there(self, collection: Collection) -> bool:
        """Whether it has vectors of the version already, or is new."""
        assert self.version is not None and self.parts.serving.next is not None, "begun before"
        if collection.number in self.parts.serving.next.pairs:
            return True
        return collection.pair is not None and collection.pair.version is self.version.value

    async def _prepare_one(self, collection: Collection) -> None:
        pair = await self.parts.collections.moves.prepare(collection)
        if pair is not None and (n_unkept := len(pair.index.without_image)):
            await self.parts.collections.moves.leave(collection)
            self._note_stay(
                collection, f"{n_unkept} of {collection.n_images} rows keep no image that could be embedded"
            )

    def _note_stay(self, collection: Collection, reason: str) -> None:
        log.warning("collection %s stays on its version: %s", collection.name, reason)
        collection.stays = reason
        self.rollout = replace(self.rollout, stays={**self.rollout.stays, collection.name: reason})

    def _moving(self) -> list[tuple[Collection, Pair]]:
        """The collections that move, each with its vectors in the next snapshot."""
        next = self.parts.serving.next
        pairs: Mapping[int, Pair] = {} if next is None else next.pairs
        return [(one, pairs[one.number]) for one in self.parts.collections if one.number in pairs]

    async def _require_room(self) -> None:
        """Raises StoreFull, Conflict."""
        disk = memory = 0
        for _, pair in self._moving():
            row_bytes = 4 * pair.model.embed_dim
            disk += len(pair.index.pending) * (row_bytes + ROW_BYTES)
            memory += len(pair.index.pending) * row_bytes
        await asyncio.to_thread(
            self.parts.free_space.require, disk_bytes=int(MARGIN * disk), memory_bytes=int(MARGIN * memory)
        )

    async def _embed(self) -> None:
        """Embed the images that the next snapshot has no vectors of, new collections included, and train its
        indexes.
        """
        pace, most_pending = self.pace(), 0
        while True:
            lagging = [(collection, pair) for collection, pair in self._moving() if pair.index.pending]
            n_pending = sum(len(pair.index.pending) for _, pair in lagging)
            if n_pending <= most_pending:
                break
            most_pending += BLOCKING_ROWS  # more each time: there may always be some that are being added
            for collection, pair in lagging:
                await self.parts.collections.moves.embed_pending(collection, pair, pace)
        for collection, pair in self._moving():
            await self.parts.collections.moves.train(collection, pair)

    async def _compare(self) -> None:
        """Compare old and new answers, and show it even if it refuses the switch. Raises Conflict then.

        A rollback is not compared: it must be fast, and no bound may bar it.
        """
        if await self._is_rollback():
            require_coverage(self._moving())
            return
        comparison = await self.parts.compare(self._moving())
        # Collections that follow what serves already do not decide about it.
        changes = self.rollout.target != self.parts.serving.current.version.target
        if changes and not self.rollout.despite_labels:
            comparison = comparison.requiring_agreement(_despite_labels(self.rollout.target))
        await self._set("compared", comparison=comparison.as_json())
        require_coverage(self._moving())
        comparison.require_met()

    async def _is_rollback(self) -> bool:
        """Whether the version that served before is demanded, and not only named again."""
        served = await self.parts.store.served()
        is_previous = served is not None and served.previous == self.rollout.target
        return is_previous and self.rollout.despite_labels

    async def _switch_to_the_end(self) -> None:
        """Switch. It cannot be taken back half-way: who cancels it then gets a rollout that is done."""
        switching = asyncio.create_task(self._switch())
        while not switching.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([switching])
        switching.result()

    async def _switch(self) -> None:
        assert self.version is not None, "loaded before"
        target, former = self.version.value.target, self.parts.serving.current.version.target
        changes = former != target  # else some collections catch up with what serves
        served = ServedVersions(target, former, self.wanted) if changes else None
        ended = self.rollout

        async def store(moving: Sequence[Moving], left: Sequence[Collection]) -> None:
            nonlocal ended
            require_coverage(moving)
            stays = dict(self.rollout.stays) | dict.fromkeys((one.name for one in left), NOT_KEPT)
            ended = replace(self.rollout, stays=stays).ended("active")
            moves = {collection.number: CollectionMove(target, pair.identity) for collection, pair in moving}
            await self.parts.store.switch(served, moves, ended)

        def done() -> None:
            self.rollout = ended
            for collection in self.parts.collections:
                collection.stays = ended.stays.get(collection.name, collection.stays)
            self.on_switched(self)
            self._report()

        await self.parts.collections.moves.switch(self._moving, store, done)

    async def _abandon(self) -> None:
        with suppress(NotReady):  # the server stops, and closes all vectors
            await self.parts.collections.moves.abandon()

    def _counts(self) -> tuple[int, int]:
        """(images, images with a vector of the new identity) of all collections that move"""
        if counts := [_progress_of(*moving) for moving in self._moving()]:
            self._last_counts = sum(n for n, _ in counts), sum(n for _, n in counts)
        return self._last_counts


def _despite_labels(target: Target) -> str:
    ref = target.ref
    return f"diptych models activate {ref.name} {ref.version} --precision {target.precision} --despite-labels"


def _progress_of(collection: Collection, pair: Pair) -> tuple[int, int]:
    """(images, images with a vector of the new identity)"""
    return collection.n_images, collection.n_images - len(pair.index.unindexed)
