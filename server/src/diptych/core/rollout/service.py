"""The public methods of rollouts, which routes call."""

import asyncio
import builtins
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.versions import LoadedVersion
from diptych.core.ports import Metrics
from diptych.core.rollout.known import MAX_SHOWN, KnownRollouts, Moved
from diptych.core.rollout.pacing import EncoderShare
from diptych.core.rollout.policy import RolloutPolicy
from diptych.core.rollout.previous import KeptVersion
from diptych.core.rollout.run import RolloutParts, RolloutRun
from diptych.core.rollout.types import (
    CollectionMove,
    CollectionProgress,
    Progress,
    Rollout,
    RolloutStatus,
    ServedVersions,
)
from diptych.core.rollout.watcher import RepositoryWatcher
from diptych.core.rollout.worker import RolloutWorker
from diptych.core.types import VersionRef
from diptych.errors import Conflict, DiptychError, NotFound

log = logging.getLogger(__name__)


class Rollouts:
    """Moves the server and its collections between versions, one rollout at a time."""

    def __init__(
        self,
        parts: RolloutParts,
        policy: RolloutPolicy,
        *,
        metrics: Metrics,
        share: float = 0.1,
        poll_s: float = 2.0,
    ) -> None:
        """`share`: of the encoders' time while requests come. `poll_s`: between looks at the repository."""
        self._parts = parts
        self._policy = policy
        self._kept = KeptVersion(parts)
        self._known = KnownRollouts(parts.store)
        self._worker = RolloutWorker(
            parts,
            self._known,
            self._kept,
            metrics,
            pace=lambda: EncoderShare(share, parts.versions.busy_s),
            after_switch=self._move_newcomers,
        )
        self._watcher = RepositoryWatcher(parts, self._known, policy, self.activate, poll_s=poll_s)
        self._background = TaskSet()

    async def open(self) -> None:
        """Resume the rollout that had not ended, and start to watch the model repository."""
        served = await self._parts.store.served()
        active = self._active.ref
        if served is None or served.active != active:
            await self._parts.store.switch(ServedVersions(active), {})
            begun = Rollout.new(active).ended("active")
            await self._parts.store.put_rollout(begun)  # so that the watcher does not undo a move to an older
        else:
            self._kept.ref = served.previous if self._parts.keeps_previous else None
        await self._known.open(self._parts.collections)
        await self._watcher.open()
        if served is not None and served.active.name != active.name:
            await self._take_over(served.active.name)
        idle = EncoderShare(0, self._parts.versions.busy_s)
        keeping_up = self._kept.keep_up(idle, lambda: self._known.run is not None)
        self._background.start(self._worker.work(), "running rollouts")
        self._background.start(self._watcher.watch(), "watching the model repository")
        self._background.start(keeping_up, "keeping the version that served before")

    async def open_read_only(self) -> None:
        """Know the rollouts that there were; none is resumed, and nothing is watched."""
        await self._known.open(self._parts.collections)

    async def close(self) -> None:
        """Stop; a rollout that is under way is resumed by the next start."""
        self._worker.stop()
        await self._background.close()
        await self._worker.close()

    async def activate(self, name: str, version: int | None = None, *, now: bool = False) -> Rollout:
        """Start a rollout of the server to a version (None: the newest), and return it.

        A rollout of the server that is under way is cancelled. With `now`, a version that was active before
        is switched to at once, even if some images have no vector of it yet. A version that is active already
        gives a rollout in the state "active". Raises NotFound, BundleError, ConfigError, and Conflict for
        `now` with a version that is not kept.
        """
        target = await self._target(name, version)
        if now and target != self._kept.ref:
            raise Conflict(
                f"{target} was not active before, so that no image has a vector of it: leave out `now`"
            )
        for rollout in self._known.open_ones():
            if rollout.collection is None:
                if rollout.target == target and rollout.now == now:
                    return rollout
                await self._worker.cancel(rollout, f"{target} is activated instead")
        if target == self._active.ref:
            return Rollout.new(target).ended("active")
        return await self._known.add(replace(Rollout.new(target), now=now))

    async def move_collection(
        self, collection: str, *, model: str | None = None, precision: str | None = None
    ) -> Rollout | None:
        """Start a rollout of one collection to another model (its active or newest version) or precision.

        None if there is nothing to embed. Raises NotFound, InvalidValue for a precision that the version
        lacks, Conflict if the collection has rows that keep no image.
        """
        loaded = self._parts.collections[collection]
        vectors, name = loaded.writing, model or loaded.model
        stays = model is None and vectors is not None and bool(loaded.stays)
        if name == self._active.ref.name and not stays:
            ref = self._active.ref  # which the collection may not have followed yet
        elif vectors is not None and model is None:
            ref = vectors.version.ref
        else:
            ref = await self._target(name, None)
        version = await self._parts.versions.acquire(ref)
        try:
            return await self._move(collection, version, precision, model)
        finally:
            self._parts.versions.release(version)

    async def cancel(self, id: str) -> Rollout:
        """End a rollout; what served before serves on. Raises NotFound, and Conflict once it has ended."""
        rollout = self._known.get(id)
        if rollout.has_ended:
            raise Conflict(f"rollout {id!r} has ended: it is {rollout.state}")
        await self._worker.cancel(rollout, "cancelled by a request")
        return self._known.get(id)

    async def list(self, limit: int = MAX_SHOWN) -> builtins.list[Rollout]:
        """The newest rollouts, newest first."""
        return self._known.newest(limit)

    async def get(self, id: str) -> Rollout:
        """One rollout. Raises NotFound."""
        return self._known.get(id)

    def progress(self, id: str) -> Progress | None:
        """How far the rollout has come; None unless it is under way."""
        run = self._known.run
        return run.progress() if run is not None and run.rollout.id == id else None

    def failures(self, name: str) -> Mapping[int, str]:
        """Why versions of a model could not be activated, by their number, of each the newest attempt."""
        return self._known.failures(name)

    def of_collections(self) -> Mapping[str, CollectionProgress]:
        """The collections that rollouts under way move, by their present names.

        Those of a rollout of the server only once their images are being embedded.
        """
        begun = {
            name: CollectionProgress(one, one.precision or self._parts.collections[name].precision, 0, 0)
            for one in self._known.open_ones()
            if (name := one.collection) is not None and name in self._parts.collections
        }
        run = self._known.run
        return {**begun, **({} if run is None else run.of_collections())}

    def require_none(self, collection: str) -> None:
        """Raise Conflict while a rollout moves this collection alone: it knows the collection by its name."""
        for rollout in self._known.open_ones():
            if rollout.collection == collection:
                raise Conflict(
                    f"collection {collection!r} is moving to {rollout.target}: rename it once rollout "
                    f"{rollout.id!r} has ended, or cancel that"
                )

    async def status(self) -> RolloutStatus:
        """What serves, what served before, and what is under way."""
        previous, run = await self._kept.status(), self._known.run
        return RolloutStatus(
            active=self._active.ref,
            policy=self._policy.kind,
            previous=previous,
            running=None if run is None else run.rollout,
            progress=None if run is None else run.progress(),
        )

    @property
    def _active(self) -> LoadedVersion:
        return self._parts.active.now.version

    async def _target(self, name: str, version: int | None) -> VersionRef:
        """The version that is meant: one that serves or is kept, else one of the model repository."""
        if version is None:
            newest = await asyncio.to_thread(self._parts.bundles.newest, name)
            if newest is None:
                raise NotFound(f"no version of model {name[:80]!r} can be served here")
            return newest
        loaded = [one.ref for one in self._parts.versions.loaded()]
        kept = [*([self._kept.ref] if self._kept.ref else []), self._active.ref, *loaded]
        # Where two have this number, the former one comes first: this is the way back.
        known = next((ref for ref in kept if (ref.name, ref.version) == (name, version)), None)
        try:
            found = await asyncio.to_thread(self._parts.bundles.find, name, version)
        except NotFound:
            if known is None:
                raise
            return known
        return known if known is not None and found == self._active.ref else found

    async def _move(
        self, collection: str, version: LoadedVersion, precision: str | None, model: str | None
    ) -> Rollout | None:
        loaded = self._parts.collections[collection]
        wanted = precision or loaded.precision
        version.pipelines.require_known(wanted)
        rollout = replace(Rollout.new(version.ref), collection=collection, precision=precision)
        for other in self._known.open_ones():
            if other.collection == collection:
                await self._worker.cancel(other, "another move of the collection was asked for")
        current = loaded.current
        if current is not None and current.version is version and wanted == loaded.precision:
            return None
        pipeline = await version.pipelines.acquire(wanted)
        try:
            identity = pipeline.model.identity
            is_same = current is not None and current.version is version and current.identity == identity
            if is_same and not any(one.collection is None for one in self._known.open_ones()):
                move = CollectionMove(version.ref, wanted, identity, may_lag=loaded.may_lag)
                await self._parts.store.switch(None, {loaded.name: move})
                loaded.precision = wanted
                return None
            await self._parts.collections.moves.require_embeddable(collection, identity)
        except BaseException:
            version.pipelines.release(pipeline)
            raise
        release = partial(version.pipelines.release, pipeline)
        return await self._known.add(rollout, Moved(loaded, keeps_version=model is None, release=release))

    async def _take_over(self, model: str) -> None:
        """Move the collections of a model that served last and is damaged to the one that serves instead."""
        for collection in self._parts.collections.loaded():
            if collection.model == model and collection.current is None:
                try:
                    await self.move_collection(collection.name, model=self._active.ref.name)
                except DiptychError as error:
                    log.warning("collection %s stays unserved: %s", collection.name, error)

    async def _move_newcomers(self, run: RolloutRun) -> None:
        """Let collections follow that were created between the last look of a rollout and its switch."""
        if run.rollout.collection is not None:
            return
        for collection in self._parts.collections.loaded():
            if collection.model in run.names and collection not in run.moving and not collection.stays:
                with suppress(DiptychError):
                    await self.move_collection(collection.name, model=self._active.ref.name)
