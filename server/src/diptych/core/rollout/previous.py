"""The version that served before: its vectors follow every change, so that a rollback is immediate."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.upkeep.reembed import Pace
from diptych.core.rollout.parts import RolloutParts
from diptych.core.rollout.types import PreviousVersion
from diptych.core.serving.snapshot import Pair
from diptych.core.types import Target
from diptych.errors import DiptychError, NotFound, NotReady, StoreError

log = logging.getLogger(__name__)

CATCH_UP_S = 2.0  # between looks whether it lacks images


class KeptVersion:
    """Keeps the vectors of `target`, which served before; None if there is none."""

    def __init__(self, parts: RolloutParts) -> None:
        self._parts = parts
        self.target: Target | None = None
        self._failed = WeakKeyDictionary[Collection, Target | None]()  # the last attempts that failed
        self._n_lagging = 0  # as long as it is closed, since a rollout has begun: as it was last

    async def keep_up(self, pace: Pace, is_rolling: Callable[[], bool]) -> None:
        """Open it, and embed what collections lack of it: in spare time, while no rollout runs.

        One server does that for all that use the database; the others get what it has embedded.
        """
        await self._open(lambda: False)
        while True:
            await asyncio.sleep(CATCH_UP_S)
            await self._open(is_rolling)
            if not await self._leads():
                continue
            for collection, pair in self._kept():
                if not pair.index.pending or is_rolling():
                    continue
                try:
                    await self._parts.collections.moves.embed_pending(collection, pair, pace)
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
        kept = self._kept()
        if self._parts.serving.previous is not None or self._parts.serving.next is None:
            self._n_lagging = sum(len(pair.index.pending) for _, pair in kept) + sum(
                collection.n_images for collection in self._lacking()
            )
        n_bytes = sum(collection.n_bytes(pair) for collection, pair in kept)
        return PreviousVersion(
            target,
            n_lagging=self._n_lagging,
            memory_bytes=sum(pair.index.vectors.memory_bytes for _, pair in kept),
            weight_bytes=sum(
                one.weight_bytes for one in self._parts.versions.loaded() if one.target == target
            ),
            vector_bytes=n_bytes,
            bundle_bytes=bundle_bytes,
        )

    async def _leads(self) -> bool:
        try:
            return await self._parts.collections.peers.leads()
        except StoreError:
            return False  # for all that is known

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

    async def _open_for(self, collection: Collection, is_rolling: Callable[[], bool]) -> None:
        if self.target is None or is_rolling():
            return
        version = await self._parts.versions.acquire(self.target)
        try:
            if not is_rolling() and self._lacks(collection):  # loading may take long
                await self._parts.collections.moves.keep(collection, version)
        finally:
            version.release()

    def _lacking(self) -> list[Collection]:
        return [one for one in self._parts.collections if self._lacks(one)]

    def _lacks(self, collection: Collection) -> bool:
        """Whether it follows the server, and has no vectors to go back with, though it may have them."""
        serving, pair = self._parts.serving, collection.pair
        return (
            self.target is not None
            and pair is not None
            and pair.version is serving.current.version
            and not any(one.version.target == self.target for one in serving.pairs(collection.number))
            and self._failed.get(collection) != self.target
        )

    def _kept(self) -> list[tuple[Collection, Pair]]:
        previous = self._parts.serving.previous
        pairs: Mapping[int, Pair] = {} if previous is None else previous.pairs
        return [(one, pairs[one.number]) for one in self._parts.collections if one.number in pairs]
