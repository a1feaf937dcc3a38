"""One rollout, from the files of a version to the switch."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.reembed import Pace
from diptych.core.collections.service import Collections
from diptych.core.encoding.versions import LoadedVersion, LoadedVersions
from diptych.core.rollout.active import ActiveModel
from diptych.core.rollout.compare import Compare, require_coverage
from diptych.core.rollout.ports import Bundles, RolloutStore, Room
from diptych.core.rollout.types import (
    CollectionMove,
    CollectionProgress,
    Progress,
    Rollout,
    RolloutState,
    ServedVersions,
)
from diptych.core.types import VersionRef
from diptych.errors import DiptychError, NotFound, NotReady
from diptych.failpoints import around

log = logging.getLogger(__name__)

BLOCKING_ROWS = 16  # images that may be embedded in the write of the switch, in which adds wait
ROW_BYTES = 100  # of a vector in the database, beside its numbers
MARGIN = 1.5  # for the log of the database, and for memory that grows by doubling
TELL_PROGRESS_S = 60.0  # between lines of the log


@dataclass(frozen=True)
class RolloutParts:
    """What rollouts work with."""

    versions: LoadedVersions
    active: ActiveModel
    collections: Collections
    bundles: Bundles
    store: RolloutStore
    room: Room
    compare: Compare


@dataclass(eq=False)
class RolloutRun:
    """Runs one rollout. `save` stores each new state; `pace` gives way to requests. `keep_bundles` keeps a
    copy of the version, beside what is needed already. `wanted`: see ServedVersions.
    """

    parts: RolloutParts
    rollout: Rollout
    save: Callable[[Rollout], Awaitable[None]]
    pace: Callable[[], Pace]
    keep_bundles: Callable[[VersionRef], Awaitable[None]]
    wanted: str
    version: LoadedVersion | None = None
    moving: list[LoadedCollection] = field(default_factory=list)
    _began: float = 0.0
    _n_at_begin: int = 0

    async def run(self) -> None:
        """Run to the switch. What it raises leaves everything as it was, but for the stored vectors.

        Raises BundleError, EncoderFailed, ConfigError, NotFound, Conflict, StoreError, NotReady.
        """
        try:
            await self._run()
        except BaseException as error:
            await asyncio.shield(self._abandon(error))
            raise
        finally:
            if self.version is not None:
                self.parts.versions.release(self.version)

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
        found = {}
        for collection in self.moving:
            if collection.next is not None and not collection.dropped:
                n_images, n_embedded = self._progress_of(collection)
                found[collection.name] = CollectionProgress(self.rollout, n_images, n_embedded)
        return found

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
        telling = asyncio.create_task(self._tell_progress())
        try:
            await self._embed()
        finally:
            telling.cancel()
        await self._compare()
        await self._switch_to_the_end()

    def _note(self, step: RolloutState) -> None:
        """Show a step of loading; it is not stored, since loading begins anew after a restart."""
        if self.rollout.state in {"discovered", "verified", "proven"}:
            self.rollout = replace(self.rollout, state=step)
            self._tell()

    def _tell(self) -> None:
        log.info("rollout to %s: %s", self.rollout.target.exact, self.rollout.state)

    async def _tell_progress(self) -> None:
        """Log how far the images are, once in a while."""
        while True:
            await asyncio.sleep(TELL_PROGRESS_S)
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
        self._tell()
        await self.save(self.rollout)

    async def _prepare(self) -> None:
        """Open the indexes of all collections that move. Those that cannot move keep what they have."""
        for collection in self._candidates():
            await self._prepare_one(collection)
        await self._require_room()
        self._began, (_, self._n_at_begin) = time.monotonic(), self._counts()

    def _candidates(self) -> list[LoadedCollection]:
        """Collections that were not prepared yet.

        Collections that stay, as a rollout found before a restart, say so again.
        """
        stays = self.rollout.stays
        for one in self.parts.collections.loaded():
            if one.name in stays:
                one.stay(stays[one.name])
        return [
            one
            for one in self.parts.collections.loaded()
            if one not in self.moving and one.name not in stays and not self._is_there(one)
        ]

    def _is_there(self, collection: LoadedCollection) -> bool:
        """Whether it has vectors of the version already."""
        return collection.current is not None and collection.current.version is self.version

    async def _prepare_one(self, collection: LoadedCollection) -> None:
        assert self.version is not None, "loaded before"
        self.moving.append(collection)
        reason = collection.reason
        try:
            await self.parts.collections.moves.prepare(collection, self.version)
        except NotFound:
            return  # it was dropped meanwhile
        if collection.next is None:
            return  # it was dropped meanwhile
        if n_unkept := len(collection.next.without_image):
            collection.reason = reason  # why nothing here makes its vectors
            await self._let_stay(
                collection, f"{n_unkept} of {collection.n_images} rows keep no image that could be embedded"
            )
            return
        collection.stays, collection.can_move = "", True

    async def _let_stay(self, collection: LoadedCollection, reason: str) -> None:
        await self.parts.collections.moves.abandon(collection)
        self.moving.remove(collection)
        log.warning("collection %s stays on its version: %s", collection.name, reason)
        collection.stay(reason)
        self.rollout = replace(self.rollout, stays={**self.rollout.stays, collection.name: reason})

    async def _require_room(self) -> None:
        """Raises StoreFull, Conflict."""
        disk = memory = 0
        for collection in self.moving:
            if (vectors := collection.next) is not None:
                row_bytes = 4 * vectors.model.embed_dim
                disk += len(vectors.pending) * (row_bytes + ROW_BYTES)
                memory += len(vectors.pending) * row_bytes
        await asyncio.to_thread(
            self.parts.room.require, disk_bytes=int(MARGIN * disk), memory_bytes=int(MARGIN * memory)
        )

    async def _embed(self) -> None:
        """Embed what the new indexes lack, of collections that are created meanwhile, too."""
        pace, most_pending = self.pace(), 0
        while True:
            for collection in self._candidates():
                await self._prepare_one(collection)
            lagging = [
                (collection, collection.next)
                for collection in self.moving
                if collection.next is not None and not collection.dropped and collection.next.pending
            ]
            n_pending = sum(len(vectors.pending) for _, vectors in lagging)
            if n_pending <= most_pending:
                return
            most_pending += BLOCKING_ROWS  # more each time: there may always be some that are being added
            for collection, vectors in lagging:
                await self.parts.collections.moves.embed_pending(collection, vectors, pace)

    async def _compare(self) -> None:
        """Compare old and new answers, and show it even if it refuses the switch. Raises Conflict then.

        The way back to the version before is not compared: it must be fast, and no bound may bar it.
        """
        if await self._goes_back():
            require_coverage(self.moving)
            return
        comparison = await self.parts.compare(self.moving)
        await self._set("compared", comparison=comparison.as_json())
        require_coverage(self.moving)
        comparison.require_met()

    async def _goes_back(self) -> bool:
        served = await self.parts.store.served()
        return served is not None and served.previous == self.rollout.target

    async def _switch_to_the_end(self) -> None:
        """Switch. It cannot be taken back half-way: who cancels it then gets a rollout that is done."""
        switching = asyncio.create_task(self._switch_and_record())
        try:
            await asyncio.shield(switching)
        except asyncio.CancelledError:
            await asyncio.wait([switching])
            switching.result()

    async def _switch_and_record(self) -> None:
        await self._switch()
        self.rollout = self.rollout.ended("active")
        await self.save(self.rollout)

    async def _switch(self) -> None:
        assert self.version is not None, "loaded before"
        version, active = self.version, self.parts.active
        former = active.now.version
        changes = former is not version  # else some collections catch up with what serves
        served = None
        if changes:
            served = ServedVersions(version.target, former.target, self.wanted)
            await self.parts.versions.acquire(version.target)  # its new user is the active model

        async def store(moving: Sequence[LoadedCollection]) -> None:
            require_coverage(moving)
            await self.parts.store.switch(
                served,
                {
                    collection.name: CollectionMove(version.target, collection.next.identity)
                    for collection in moving
                    if collection.next is not None
                },
            )

        def switch_active() -> None:
            if changes:
                self.parts.versions.release(active.switch(version))

        try:
            await self.parts.collections.moves.switch(
                self._ready, store, switch_active, keeps_previous=changes
            )
        except BaseException:
            if changes and active.now.version is not version:
                self.parts.versions.release(version)
            raise
        for collection in [one for one in self.moving if one.next is not None and not one.dropped]:
            await self._let_stay(collection, "images were added that it does not keep")

    def _ready(self) -> list[LoadedCollection]:
        """The collections to switch."""
        return [
            collection
            for collection in self.moving
            if collection.next is not None and not collection.dropped and not collection.next.without_image
        ]

    async def _abandon(self, error: BaseException) -> None:
        for collection in self.moving:
            with suppress(NotReady):  # the server stops, and closes all vectors
                await self.parts.collections.moves.abandon(collection)
            if collection.current is None and isinstance(error, DiptychError):
                collection.reason = str(error)

    def _counts(self) -> tuple[int, int]:
        """(images, images with a vector of the new identity) of all collections that move"""
        counts = [self._progress_of(collection) for collection in self.moving]
        return sum(n for n, _ in counts), sum(n for _, n in counts)

    def _progress_of(self, collection: LoadedCollection) -> tuple[int, int]:
        """(images, images with a vector of the new identity)"""
        if collection.dropped:
            return 0, 0
        if collection.next is None:
            return collection.n_images, collection.n_images
        return collection.n_images, collection.n_images - len(collection.next.unindexed)
