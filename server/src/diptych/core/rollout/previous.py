"""The version that served before: its vectors follow every change, so that a rollback is immediate."""

import asyncio
import logging
from collections.abc import Callable
from weakref import WeakKeyDictionary

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.indexed_vectors import IndexedVectors
from diptych.core.collections.reembed import Pace
from diptych.core.rollout.run import RolloutParts
from diptych.core.rollout.types import PreviousVersion
from diptych.core.types import Target
from diptych.errors import DiptychError, NotFound, NotReady, StoreError

log = logging.getLogger(__name__)

CATCH_UP_S = 2.0  # between looks whether it lacks images


class KeptVersion:
    """Keeps the vectors of `target`, which served before; None if there is none."""

    def __init__(self, parts: RolloutParts) -> None:
        self._parts = parts
        self.target: Target | None = None
        self._failed = WeakKeyDictionary[LoadedCollection, Target | None]()  # the last attempts that failed

    async def keep_up(self, pace: Pace, is_rolling: Callable[[], bool]) -> None:
        """Open it, and embed what collections lack of it: in spare time, while no rollout runs."""
        await self._open(lambda: False)
        while True:
            await asyncio.sleep(CATCH_UP_S)
            await self._open(is_rolling)
            for collection in self._parts.collections.loaded():
                vectors = collection.previous
                if vectors is None or not vectors.pending or is_rolling():
                    continue
                try:
                    await self._parts.collections.moves.embed_pending(collection, vectors, pace)
                except NotReady:
                    raise
                except DiptychError as error:
                    log.warning("the version that served before cannot catch up: %s", error)

    async def status(self) -> PreviousVersion | None:
        """How far it has come, and what it takes."""
        target = self.target
        if target is None:
            return None
        bundle_bytes = await asyncio.to_thread(self._parts.bundles.kept_bytes, target.ref)
        kept = self._kept(target)
        n_bytes = sum(collection.n_bytes(vectors) for collection, vectors in kept)
        return PreviousVersion(
            target,
            n_lagging=sum(len(vectors.pending) for _, vectors in kept)
            + sum(collection.n_images for collection in self._lacking()),
            memory_bytes=n_bytes,
            weight_bytes=sum(
                one.pipeline.weight_bytes for one in self._parts.versions.loaded() if one.target == target
            ),
            vector_bytes=n_bytes,
            bundle_bytes=bundle_bytes,
        )

    async def _open(self, is_rolling: Callable[[], bool]) -> None:
        """Give vectors of it to collections that lack them, such as those that were created since."""
        for collection in self._lacking():
            try:
                await self._open_for(collection, is_rolling)
            except (NotReady, NotFound, StoreError):
                continue  # the server stops, the collection was dropped, or the disk may have room later
            except DiptychError as error:
                self._failed[collection] = self.target  # would fail again
                log.warning("collection %s cannot go back to %s: %s", collection.name, self.target, error)

    async def _open_for(self, collection: LoadedCollection, is_rolling: Callable[[], bool]) -> None:
        if self.target is None or is_rolling():
            return
        version = await self._parts.versions.acquire(self.target)
        try:
            if not is_rolling() and self._lacks(collection):  # loading may take long
                await self._parts.collections.moves.open_previous(collection, version)
        finally:
            self._parts.versions.release(version)

    def _lacking(self) -> list[LoadedCollection]:
        return [one for one in self._parts.collections.loaded() if self._lacks(one)]

    def _lacks(self, collection: LoadedCollection) -> bool:
        """Whether it follows the server, and has no vectors to go back with, though it may have them."""
        current, next, previous = collection.current, collection.next, collection.previous
        return (
            self.target is not None
            and current is not None
            and current.version is self._parts.active.now.version
            and not any(one is not None and one.version.target == self.target for one in (next, previous))
            and self._failed.get(collection) != self.target
        )

    def _kept(self, target: Target) -> list[tuple[LoadedCollection, IndexedVectors]]:
        return [
            (collection, collection.previous)
            for collection in self._parts.collections.loaded()
            if collection.previous is not None and collection.previous.version.target == target
        ]
