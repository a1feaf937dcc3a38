"""One rollout, from the files of a version to the switch."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.upkeep.reembed import Pace
from diptych.core.rollout.compare import Moving, require_coverage
from diptych.core.rollout.filling import Filling, progress_of
from diptych.core.rollout.parts import RolloutParts
from diptych.core.rollout.ports import SwitchRefused, of_rollout, waits_for_servers
from diptych.core.rollout.types import (
    CollectionMove,
    CollectionProgress,
    Progress,
    Rollout,
    RolloutState,
    ServedVersions,
)
from diptych.core.types import Target, VersionRef

log = logging.getLogger(__name__)

BLOCKING_ROWS = 16  # images that may be embedded in the write of the switch, in which adds wait
NOT_KEPT = "images were added that it does not keep"
LOOK_S = 0.5  # between looks whether other servers are ready
REPORT_PROGRESS_S = 60.0  # between lines of the log


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

    def __post_init__(self) -> None:
        self._filling = Filling(self.parts, self.rollout.target, self.keep_bundles)

    async def run(self) -> None:
        """Run to the switch. What it raises leaves everything as it was, but for the stored vectors.

        Raises BundleError, EncoderFailed, ConfigError, NotFound, Conflict, StoreError, NotReady.
        """
        try:
            await self._run()
        except BaseException:
            await asyncio.shield(self._filling.end())
            raise
        finally:
            self._filling.release()

    def progress(self) -> Progress:
        """How far the images have come."""
        return self._filling.progress(is_embedding=self.rollout.state == "embedding")

    def of_collections(self) -> Mapping[str, CollectionProgress]:
        """How far each collection has come, by its present name."""
        return {
            collection.name: CollectionProgress(self.rollout, *progress_of(collection, pair))
            for collection, pair in self._filling.moving()
        }

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        await self._set("discovered")
        await self._filling.load(lambda step: loop.call_soon_threadsafe(self._note, step))
        if self.wanted in await asyncio.to_thread(self.parts.bundles.precisions, self.rollout.target.ref):
            self.wanted = self.rollout.target.precision
        self.rollout = replace(self.rollout, stays={})  # after a restart, collections may have changed
        await self._filling.begin(self._note_stay)
        await self._set("embedding")
        reporting = asyncio.create_task(self._report_progress())
        try:
            await self._embed()
        finally:
            reporting.cancel()
        await self._compare()
        await self._switch_with_others()

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

    def _note_stay(self, collection: Collection, reason: str) -> None:
        log.warning("collection %s stays on its version: %s", collection.name, reason)
        collection.stays = reason
        self.rollout = replace(self.rollout, stays={**self.rollout.stays, collection.name: reason})

    async def _embed(self) -> None:
        """Embed the images that the next snapshot has no vectors of, new collections included, and train its
        indexes.
        """
        pace, most_pending = self.pace(), 0
        await self._filling.prepare(self._note_stay)
        while True:
            lagging = [
                (collection, pair) for collection, pair in self._filling.moving() if pair.index.pending
            ]
            n_pending = sum(len(pair.index.pending) for _, pair in lagging)
            if n_pending <= most_pending:
                break
            most_pending += BLOCKING_ROWS  # more each time: there may always be some that are being added
            for collection, pair in lagging:
                await self.parts.collections.moves.embed_pending(collection, pair, pace)
        await self._filling.train()

    async def _compare(self) -> None:
        """Compare old and new answers, and show it even if it refuses the switch. Raises Conflict then.

        A rollback is not compared: it must be fast, and no bound may bar it.
        """
        if await self._is_rollback():
            require_coverage(self._filling.moving())
            return
        comparison = await self.parts.compare(self._filling.moving())
        # Collections that follow what serves already do not decide about it.
        changes = self.rollout.target != self.parts.serving.current.version.target
        if changes and not self.rollout.despite_labels:
            comparison = comparison.requiring_agreement(_despite_labels(self.rollout.target))
        await self._set("compared", comparison=comparison.as_json())
        require_coverage(self._filling.moving())
        comparison.require_met()

    async def _is_rollback(self) -> bool:
        """Whether the version that served before is demanded, and not only named again."""
        served = await self.parts.store.served()
        is_previous = served is not None and served.previous == self.rollout.target
        return is_previous and self.rollout.despite_labels

    async def _switch_with_others(self) -> None:
        """Switch as soon as all servers of the database can."""
        while True:
            reason = await self._waits_for()
            if not reason:
                try:
                    await self._switch_to_the_end()
                except SwitchRefused as error:
                    reason = str(error)
                else:
                    return
            if reason != self.rollout.reason:
                await self._set("compared", reason=reason)
            await asyncio.sleep(LOOK_S)
            await self._embed()  # what was added meanwhile

    async def _waits_for(self) -> str:
        """The servers that are not ready, and why; empty if there are none."""
        what = of_rollout(self.rollout.id)
        names = await self.parts.collections.peers.lacking_announcement(what)
        return waits_for_servers(names) if names else ""

    async def _switch_to_the_end(self) -> None:
        """Switch. It cannot be taken back half-way: who cancels it then gets a rollout that is done."""
        switching = asyncio.create_task(self._switch())
        while not switching.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([switching])
        switching.result()

    async def _switch(self) -> None:
        target, former = self.rollout.target, self.parts.serving.current.version.target
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

        await self.parts.collections.moves.switch(self._filling.moving, store, done)


def _despite_labels(target: Target) -> str:
    ref = target.ref
    return f"diptych models activate {ref.name} {ref.version} --precision {target.precision} --despite-labels"
