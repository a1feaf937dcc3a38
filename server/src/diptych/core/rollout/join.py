"""Take part in a rollout that another server of the database runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from diptych.core.rollout.filling import Filling, progress_of
from diptych.core.rollout.parts import RolloutParts
from diptych.core.rollout.ports import of_rollout
from diptych.core.rollout.types import CollectionProgress, Progress, Rollout
from diptych.core.types import Target, VersionRef
from diptych.errors import DiptychError, NotReady

log = logging.getLogger(__name__)

LOOK_S = 0.2  # between looks at what the other server has done
RETRY_S = 10.0  # after the version could not be loaded


@dataclass(eq=False)
class RolloutJoin:
    """Loads and proves a version, fills the next snapshot with the vectors that the other server makes, and
    says when it is ready. The switch comes with the writes of that server, see `Moves.follow_switch`.

    Without `rollout` other servers have switched to `target` already. `now` is the rollout as it is now.
    """

    parts: RolloutParts
    target: Target
    rollout: Rollout | None
    now: Callable[[str], Rollout]
    keep_bundles: Callable[[VersionRef], Awaitable[None]]

    def __post_init__(self) -> None:
        self._filling = Filling(self.parts, self.target, self.keep_bundles)

    async def run(self) -> None:
        """Run to the switch; to be cancelled when there will be none. Raises NotReady, StoreError."""
        try:
            await self._until_ready()
            await self._until_switched()
        except BaseException:
            await asyncio.shield(self._filling.end())
            raise
        finally:
            self._filling.release()
            if self.rollout is not None:
                await asyncio.shield(self._withdraw(self.rollout))

    def fits(self, target: Target, rollout: Rollout | None) -> bool:
        """Whether this is what the server has to do now."""
        is_same = rollout is None or (self.rollout is not None and self.rollout.id == rollout.id)
        return self.target == target and is_same

    def progress(self) -> Progress:
        """How far the images have come."""
        return self._filling.progress(is_embedding=True)

    def of_collections(self) -> Mapping[str, CollectionProgress]:
        """How far each collection has come, by its present name."""
        if self.rollout is None:
            return {}
        rollout = self.now(self.rollout.id)
        return {
            collection.name: CollectionProgress(rollout, *progress_of(collection, pair))
            for collection, pair in self._filling.moving()
        }

    async def _until_ready(self) -> None:
        """Get ready, however often that fails, and announce what is in the way."""
        while True:
            try:
                if self._filling.version is None:
                    await self._filling.load()
                await self._filling.begin(lambda collection, reason: None, fills=False)
                await self._until_embedded()
                await self._filling.train()
                await self._announce("")
            except NotReady:
                raise
            except DiptychError as error:
                log.warning("this server cannot move to %s yet: %s", self.target.exact, error)
                await self._announce(error.message)
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _until_embedded(self) -> None:
        """Wait until the other server has embedded and compared all images."""
        while self.rollout is not None and self.now(self.rollout.id).state == "embedding":  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)

    async def _until_switched(self) -> None:
        log.info("this server is ready to serve %s", self.target.exact)
        while self.parts.serving.next is not None:
            await asyncio.sleep(LOOK_S)
            if self.rollout is None:
                await self._catch_up()

    async def _catch_up(self) -> None:
        try:
            await self.parts.collections.catch_up()
        except NotReady:
            raise
        except DiptychError as error:
            log.debug("the switch of other servers is not followed yet: %s", error)

    async def _announce(self, obstacle: str) -> None:
        if self.rollout is not None:
            await self.parts.collections.peers.announce(of_rollout(self.rollout.id), obstacle)

    async def _withdraw(self, rollout: Rollout) -> None:
        try:
            await self.parts.collections.peers.withdraw(of_rollout(rollout.id))
        except DiptychError as error:
            log.debug("the database still has that this server is ready: %s", error)
