"""One rollout, from the files of a version to the switch."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.indexed_vectors import IndexedVectors
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
from diptych.errors import DiptychError, InvalidValue, NotFound, NotReady
from diptych.failpoints import around

log = logging.getLogger(__name__)

BLOCKING_ROWS = 16  # images that may be embedded in the write of the switch, in which adds wait
ROW_BYTES = 100  # of a vector in the database, beside its numbers
MARGIN = 1.5  # for the log of the database, and for memory that grows by doubling
TELL_PROGRESS_S = 60.0  # between lines of the log


@dataclass(frozen=True)
class RolloutParts:
    """What rollouts work with. `keeps_previous`: the version that served before is kept for a rollback."""

    versions: LoadedVersions
    active: ActiveModel
    collections: Collections
    bundles: Bundles
    store: RolloutStore
    room: Room
    compare: Compare
    keeps_previous: bool


@dataclass(eq=False)
class RolloutRun:
    """Runs one rollout. `save` stores each new state; `pace` gives way to requests. `keep_bundles` keeps a
    copy of the version, beside what is needed already.
    """

    parts: RolloutParts
    rollout: Rollout
    save: Callable[[Rollout], Awaitable[None]]
    pace: Callable[[], Pace]
    keep_bundles: Callable[[VersionRef], Awaitable[None]]
    collection: LoadedCollection | None = None  # the one to move, which may be renamed meanwhile
    version: LoadedVersion | None = None
    moving: dict[LoadedCollection, str] = field(default_factory=dict)  # with the new precision setting
    names: frozenset[str] = frozenset()  # of the models whose collections follow the server
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
                precision = collection.next.model.precision
                found[collection.name] = CollectionProgress(self.rollout, precision, n_images, n_embedded)
        return found

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        await self._set("discovered")
        self.names = frozenset({self.parts.active.now.version.ref.name, self.rollout.target.name})
        with around("rollout_load"):
            self.version = await self.parts.versions.acquire(
                self.rollout.target, lambda step: loop.call_soon_threadsafe(self._note, step)
            )
        self._tell_precision(self.version)
        await self.keep_bundles(self.rollout.target)
        await self._prepare()
        await self._set("embedding")
        telling = asyncio.create_task(self._tell_progress())
        try:
            await self._embed()
        finally:
            telling.cancel()
        if not self.rollout.now:
            await self._compare()
        await self._switch_to_the_end()

    def _note(self, step: RolloutState) -> None:
        """Show a step of loading; it is not stored, since loading begins anew after a restart."""
        if self.rollout.state in {"discovered", "verified", "proven"}:
            self.rollout = replace(self.rollout, state=step)
            self._tell()

    def _tell(self) -> None:
        log.info("rollout to %s: %s", self.rollout.target.exact, self.rollout.state)

    def _tell_precision(self, version: LoadedVersion) -> None:
        """Warn of requests that will be slower, since a precision does not pass here."""
        former, new = self.parts.active.now.version.serving.embed, version.serving.embed
        if self.rollout.collection is None and former.precision != new.precision:
            log.warning(
                "requests will be answered in %s instead of %s by %s: %s",
                new.precision,
                former.precision,
                version.ref.exact,
                new.reason,
            )

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
        """Collections that were not prepared yet: the one to move, or all that follow the server.

        Collections that stay, as a rollout found before a restart, say so again.
        """
        if self.rollout.collection is not None:
            return [] if self.moving else [self.collection or self.parts.collections[self.rollout.collection]]
        found = [one for one in self.parts.collections.loaded() if one.model in self.names]
        for one in found:
            one.stays = self.rollout.stays.get(one.name, one.stays)
        return [one for one in found if one not in self.moving and one.name not in self.rollout.stays]

    async def _prepare_one(self, collection: LoadedCollection) -> None:
        assert self.version is not None, "loaded before"
        precision = self.rollout.precision or collection.precision
        self.moving[collection] = precision
        try:
            await self.parts.collections.moves.prepare(collection, self.version, precision)
        except NotFound:
            return  # it was dropped meanwhile
        except InvalidValue as error:
            await self._let_stay(collection, error.message)
            return
        if collection.next is None:
            return  # it was dropped meanwhile
        if collection.current is not None and _is_same(collection.current, collection.next):
            await self.parts.collections.moves.abandon(collection)  # it is there already
            await self._set_precision(collection, precision)
        elif n_unkept := len(collection.next.without_image):
            await self._let_stay(
                collection, f"{n_unkept} of {collection.n_images} rows keep no image that could be embedded"
            )
            return
        collection.stays = ""

    async def _set_precision(self, collection: LoadedCollection, precision: str) -> None:
        """Change the setting of a collection whose vectors are those of the new precision already."""
        if collection.current is None or collection.precision == precision:
            return
        move = CollectionMove(
            collection.current.model.ref, precision, collection.current.identity, may_lag=collection.may_lag
        )
        with suppress(NotFound):  # it was dropped meanwhile
            await self.parts.store.switch(None, {collection.name: move})
            collection.precision = precision

    async def _let_stay(self, collection: LoadedCollection, reason: str) -> None:
        await self.parts.collections.moves.abandon(collection)
        self.moving.pop(collection, None)
        if self.rollout.collection is not None:
            raise InvalidValue(f"collection {collection.name!r} cannot move: {reason}")
        log.warning("collection %s stays on its version: %s", collection.name, reason)
        collection.stays = reason
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
        while not self.rollout.now:
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
        is_of_server = self.rollout.collection is None
        return is_of_server and served is not None and served.previous == self.rollout.target

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
        is_server = self.rollout.collection is None and former.ref != version.ref
        keeps_previous = is_server and self.parts.keeps_previous
        served = None
        if is_server:
            served = ServedVersions(version.ref, former.ref if self.parts.keeps_previous else None)
            await self.parts.versions.acquire(version.ref)  # its new user is the active model

        async def store(moves: Mapping[LoadedCollection, tuple[str, str]]) -> None:
            if not self.rollout.now:
                require_coverage(moves)
            await self.parts.store.switch(
                served,
                {
                    collection.name: CollectionMove(
                        version.ref,
                        precision,
                        collection.next.identity,
                        may_lag=bool(collection.next.pending),
                    )
                    for collection, (_, precision) in moves.items()
                    if collection.next is not None
                },
                keep_previous=self.parts.keeps_previous,
            )

        def switch_active() -> None:
            if is_server:
                self.parts.versions.release(active.switch(version))

        try:
            await self.parts.collections.moves.switch(
                self._moves,
                store,
                switch_active,
                keeps_previous=keeps_previous,
                may_lag=self.rollout.now,
            )
        except BaseException:
            if is_server and active.now.version is not version:
                self.parts.versions.release(version)
            raise
        for collection in [one for one in self.moving if one.next is not None and not one.dropped]:
            await self._let_stay(collection, "images were added that it does not keep")

    def _moves(self) -> dict[LoadedCollection, tuple[str, str]]:
        """The collections to switch, with their new model and precision setting."""
        name = self.rollout.target.name
        return {
            collection: (name, precision)
            for collection, precision in self.moving.items()
            if collection.next is not None and not collection.dropped and not collection.next.without_image
        }

    async def _abandon(self, error: BaseException) -> None:
        for collection in self.moving:
            with suppress(NotReady):  # the server stops, and closes all vectors
                await self.parts.collections.moves.abandon(collection)
            if collection.current is None and isinstance(error, DiptychError):
                collection.unserved, collection.reason = "failed", str(error)

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


def _is_same(one: IndexedVectors, other: IndexedVectors) -> bool:
    return one.version is other.version and one.identity == other.identity
