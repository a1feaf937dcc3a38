"""The public methods of rollouts, which routes call."""

import asyncio
import builtins
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.reembed import Pace
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.versions import LoadedVersion
from diptych.core.ports import Metrics
from diptych.core.rollout.pacing import EncoderShare
from diptych.core.rollout.policy import RolloutPolicy
from diptych.core.rollout.previous import KeptVersion
from diptych.core.rollout.run import RolloutParts, RolloutRun
from diptych.core.rollout.types import (
    CollectionMove,
    CollectionProgress,
    Policy,
    Progress,
    Rollout,
    RolloutStatus,
    ServedVersions,
)
from diptych.core.types import SERVER, VersionRef
from diptych.errors import (
    BundleError,
    Conflict,
    DiptychError,
    InvalidValue,
    NotFound,
)

log = logging.getLogger(__name__)

LOOK_AT_STAYS_S = 60.0  # between looks whether a collection may follow again
MAX_SHOWN = 100
MAX_KNOWN = 1_000  # rollouts of the server, by which the watcher knows what was tried
FORGET_ROWS = 2_000  # vectors that are deleted in one write


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
        self._metrics = metrics
        self._stays_looked_at = time.monotonic()
        self._share = share
        self._poll_s = poll_s
        self._known: dict[str, Rollout] = {}  # by id, in the order of their creation
        self._run: RolloutRun | None = None
        self._running: asyncio.Task[None] | None = None
        self._kept = KeptVersion(parts)
        self._wake = asyncio.Event()
        self._background = TaskSet()
        self._closing = False
        self._loaded_for: dict[str, Callable[[], None]] = {}  # by rollout: releases what it will use
        self._collections: dict[str, LoadedCollection] = {}  # by rollout of one: it may be renamed meanwhile
        self._keeps_version: set[str] = set()  # rollouts of a collection that change its precision alone

    @property
    def policy(self) -> Policy:
        """What happens when a new version appears in the model repository."""
        return self._policy.kind

    async def open(self) -> None:
        """Resume the rollout that had not ended, and start to watch the model repository."""
        served = await self._parts.store.served()
        active = self._active.ref
        if served is None or served.active != active:
            await self._parts.store.switch(ServedVersions(active), {})
            begun = replace(_new(active), state="active", finished_at=_now())
            await self._parts.store.put_rollout(begun)  # so that the watcher does not undo a move to an older
        else:
            self._kept.ref = served.previous if self._parts.keeps_previous else None
        for rollout in reversed(await self._parts.store.rollouts(MAX_SHOWN + MAX_KNOWN)):
            self._known[rollout.id] = rollout if rollout.has_ended else replace(rollout, state="waiting")
            if rollout.collection is not None and rollout.collection in self._parts.collections:
                self._collections[rollout.id] = self._parts.collections[rollout.collection]
        await self._note_asked_model()
        if not self._waiting():
            await self._align()
        idle = EncoderShare(0, self._busy_s)
        for work, what in (
            (self._work(), "running rollouts"),
            (self._watch(), "watching the model repository"),
            (
                self._kept.keep_up(idle, lambda: self._run is not None),
                "keeping the version that served before",
            ),
        ):
            self._background.start(work, what)

    async def close(self) -> None:
        """Stop; a rollout that is under way is resumed by the next start."""
        self._closing = True
        running = self._running
        await self._background.close()
        if running is not None:
            running.cancel()
            await asyncio.wait([running])

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
        for rollout in self._open_ones():
            if rollout.collection is None:
                if rollout.target == target and rollout.now == now:
                    return rollout
                await self._cancel(rollout, f"{target} is activated instead")
        if target == self._active.ref:
            return replace(_new(target), state="active", finished_at=_now())
        return await self._enqueue(replace(_new(target), now=now))

    async def move_collection(
        self, collection: str, *, model: str | None = None, precision: str | None = None
    ) -> Rollout | None:
        """Start a rollout of one collection to another model (its active or newest version) or precision.

        None if there is nothing to embed. Raises NotFound, InvalidValue for a precision that the version
        lacks, Conflict if the collection has rows that keep no image.
        """
        loaded = self._parts.collections[collection]
        vectors = loaded.writing
        if model is not None and model == self._active.ref.name:
            ref = self._active.ref
        elif model is not None and (vectors is None or model != loaded.model):
            ref = await self._target(model, None)
        elif vectors is not None:
            ref = vectors.version.ref
        elif loaded.model == self._active.ref.name:
            ref = self._active.ref
        else:
            ref = await self._target(loaded.model, None)
        version = await self._parts.versions.acquire(ref)
        try:
            return await self._move(collection, version, precision, model)
        finally:
            self._parts.versions.release(version)

    async def cancel(self, id: str) -> Rollout:
        """End a rollout; what served before serves on. Raises NotFound, and Conflict once it has ended."""
        rollout = await self.get(id)
        if rollout.has_ended:
            raise Conflict(f"rollout {id!r} has ended: it is {rollout.state}")
        await self._cancel(rollout, "cancelled by a request")
        return await self.get(id)

    async def list(self, limit: int = MAX_SHOWN) -> builtins.list[Rollout]:
        """The newest rollouts, newest first."""
        return [self._now(rollout) for rollout in reversed(self._known.values())][:limit]

    async def get(self, id: str) -> Rollout:
        """One rollout. Raises NotFound."""
        if id not in self._known:
            raise NotFound(f"there is no rollout {id[:80]!r}")
        return self._now(self._known[id])

    def progress(self, id: str) -> Progress | None:
        """How far the rollout has come; None unless it is under way."""
        return self._run.progress() if self._run is not None and self._run.rollout.id == id else None

    def failures(self, name: str) -> Mapping[int, str]:
        """Why versions of a model could not be activated, by their number, of each the newest attempt."""
        last = {
            rollout.target: rollout
            for rollout in self._known.values()
            if rollout.target.name == name and rollout.collection is None and rollout.has_ended
        }
        return {ref.version: one.reason for ref, one in last.items() if one.state == "failed"}

    def of_collections(self) -> Mapping[str, CollectionProgress]:
        """The collections that rollouts under way move, by their present names.

        Those of a rollout of the server only once their images are being embedded.
        """
        begun = {
            one.collection: CollectionProgress(one, one.precision or SERVER, 0, 0)
            for one in self._open_ones()
            if one.collection is not None and one.collection in self._parts.collections
        }
        return {**begun, **({} if self._run is None else self._run.of_collections())}

    def require_none(self, collection: str) -> None:
        """Raise Conflict while a rollout moves this collection alone: it knows the collection by its name."""
        for rollout in self._open_ones():
            if rollout.collection == collection:
                raise Conflict(
                    f"collection {collection!r} is moving to {rollout.target}: rename it once rollout "
                    f"{rollout.id!r} has ended, or cancel that"
                )

    async def status(self) -> RolloutStatus:
        """What serves, what served before, and what is under way."""
        run = self._run
        return RolloutStatus(
            active=self._active.ref,
            policy=self.policy,
            previous=await self._kept.status(),
            running=None if run is None else run.rollout,
            progress=None if run is None else run.progress(),
        )

    @property
    def _active(self) -> LoadedVersion:
        return self._parts.active.now.version

    async def _target(self, name: str, version: int | None) -> VersionRef:
        """The version that is meant: one that serves or is kept, else one of the model repository."""
        loaded = [one.ref for one in self._parts.versions.loaded()]
        kept = [self._active.ref, *([self._kept.ref] if self._kept.ref else []), *loaded]
        if version is None:
            newest = await asyncio.to_thread(self._parts.bundles.newest, name)
            if newest is None:
                raise NotFound(f"no version of model {name[:80]!r} can be served here")
            return newest
        try:
            found = await asyncio.to_thread(self._parts.bundles.find, name, version)
            previous = self._kept.ref
            if found == self._active.ref and previous is not None and str(previous) == str(found):
                return previous  # the number has other content now: this is the way back
            return found
        except NotFound:
            for ref in kept:
                if (ref.name, ref.version) == (name, version):
                    return ref
            raise

    async def _move(
        self, collection: str, version: LoadedVersion, precision: str | None, model: str | None
    ) -> Rollout | None:
        loaded = self._parts.collections[collection]
        wanted = precision or loaded.precision
        version.pipelines.require_known(wanted)
        rollout = replace(_new(version.ref), collection=collection, precision=wanted)
        for other in self._open_ones():
            if other.collection == collection:
                await self._cancel(other, "another move of the collection was asked for")
        current = loaded.current
        if current is not None and current.version is version and wanted == loaded.precision:
            return None
        pipeline = await version.pipelines.acquire(wanted)
        try:
            identity = pipeline.model.identity
            is_same = current is not None and current.version is version and current.identity == identity
            if is_same and not any(one.collection is None for one in self._open_ones()):
                move = CollectionMove(loaded.model, wanted, identity)
                await self._parts.store.switch(None, {loaded.name: move})
                loaded.precision = wanted
                return None
            await self._parts.collections.require_embeddable(collection, identity)
        except BaseException:
            version.pipelines.release(pipeline)
            raise
        self._loaded_for[rollout.id] = lambda: version.pipelines.release(pipeline)
        self._collections[rollout.id] = loaded
        if model is None:
            self._keeps_version.add(rollout.id)
        try:
            return await self._enqueue(rollout)
        except BaseException:
            self._forget_needs(rollout)
            raise

    def _forget_needs(self, rollout: Rollout) -> None:
        """Release what a rollout would have used."""
        self._loaded_for.pop(rollout.id, lambda: None)()
        self._keeps_version.discard(rollout.id)

    async def _enqueue(self, rollout: Rollout) -> Rollout:
        await self._save(rollout)
        self._wake.set()
        return rollout

    async def _save(self, rollout: Rollout) -> None:
        rollout = self._named(rollout)
        await self._parts.store.put_rollout(rollout)
        self._known[rollout.id] = rollout
        if rollout.has_ended:
            self._forget_needs(rollout)
            self._forget_old()

    def _forget_old(self) -> None:
        """Forget rollouts that have ended beyond a number; those of collections do not displace others."""
        ended = [one for one in self._known.values() if one.has_ended]
        old = [one.id for one in ended if one.collection is not None][:-MAX_SHOWN]
        old += [one.id for one in ended if one.collection is None][:-MAX_KNOWN]
        for id in old:
            del self._known[id]
            self._collections.pop(id, None)

    async def _cancel(self, rollout: Rollout, reason: str) -> None:
        """Cancel a rollout that waits or runs."""
        run, running = self._run, self._running
        cancelled = replace(self._now(rollout), state="cancelled", reason=reason, finished_at=_now())
        self._known[cancelled.id] = cancelled  # so that it does not begin, or begin again, meanwhile
        if run is not None and run.rollout.id == rollout.id and running is not None:
            running.cancel(reason)
            await asyncio.wait([running])
            if run.rollout.has_ended:  # it was switched before it could be cancelled
                self._known[cancelled.id] = replace(run.rollout, finished_at=_now())
                return
        await self._save(cancelled)
        self._metrics.count_rollout("cancelled")

    def _now(self, rollout: Rollout) -> Rollout:
        run = self._run
        return self._named(run.rollout if run is not None and run.rollout.id == rollout.id else rollout)

    def _named(self, rollout: Rollout) -> Rollout:
        """The rollout with the present name of its collection."""
        collection = self._collections.get(rollout.id)
        return rollout if collection is None else replace(rollout, collection=collection.name)

    def _open_ones(self) -> builtins.list[Rollout]:
        return [self._now(one) for one in self._known.values() if not self._now(one).has_ended]

    def _waiting(self) -> builtins.list[Rollout]:
        return [one for one in self._known.values() if one.state == "waiting"]

    async def _note_asked_model(self) -> None:
        """Forget the name that the settings give, unless it is another one than at the last start."""
        asked, policy = self._policy.asked_model, self._policy
        if asked is None or asked == await self._parts.store.asked_model():
            policy.asked_model = None
        elif asked == self._active.ref.name:
            await self._end_asking(asked)
        else:
            await self._look_for_asked_model()
        if policy.asked_model is not None:
            log.warning(
                "no version of %s, which the settings name, can be served here: %s serves until there is one",
                policy.asked_model,
                self._active.ref,
            )

    async def _look_for_asked_model(self) -> None:
        """Activate the model that the settings name anew, once it has a version."""
        found = await asyncio.to_thread(self._policy.asked)
        if found is not None:
            log.info(
                "%s serves until %s, which the settings name now, is rolled out", self._active.ref, found
            )
            await self.activate(found.name, found.version)
            await self._end_asking(found.name)

    async def _end_asking(self, name: str) -> None:
        await self._parts.store.set_asked_model(name)
        self._policy.asked_model = None

    async def _align(self) -> None:
        """Let collections move that do not have vectors of the active version, although they follow it."""
        active = self._active
        for collection in self._parts.collections.loaded():
            if collection.model != active.ref.name or _has_vectors_of(collection, active):
                continue
            try:
                active.pipelines.require_known(collection.precision)
                identity = active.pipelines.for_collections.model.identity
                await self._parts.collections.require_embeddable(collection.name, identity)
            except (Conflict, InvalidValue) as error:
                collection.stays = error.message
            else:
                rollout = _new(active.ref)
                self._known[rollout.id] = rollout
                return

    async def _work(self) -> None:
        """Run the rollouts that wait, one after the other."""
        while True:
            self._wake.clear()
            waiting = self._waiting()
            if not waiting:
                await self._wake.wait()
                continue
            self._running = asyncio.create_task(self._run_one(waiting[0]))
            try:
                await asyncio.wait([self._running])
            finally:
                self._running.cancel()
            self._running = None

    async def _run_one(self, rollout: Rollout) -> None:
        if self._known[rollout.id].has_ended:
            return  # it was cancelled before it could begin
        rollout = self._retargeted(rollout)
        self._run = run = RolloutRun(
            self._parts,
            rollout,
            self._save_running,
            self._pace,
            self._keep_bundles_and,
            collection=self._collections.get(rollout.id),
        )
        active = self._active.ref
        log.info("rollout to %s begins, %s serves", rollout.target.exact, active.exact)
        try:
            await run.run()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if self._closing:
                return  # the next start resumes it
            if not isinstance(error, DiptychError):
                log.exception("rollout to %s failed", rollout.target.exact)
            reason = str(error) if isinstance(error, DiptychError) else f"unexpected {type(error).__name__}"
            log.error("rollout to %s failed, %s serves on: %s", rollout.target.exact, active.exact, reason)
            failed = replace(run.rollout, state="failed", reason=reason, finished_at=_now())
            self._known[failed.id] = failed  # even if the disk is too full to store it
            self._metrics.count_rollout("failed")
            await self._save(failed)
        else:
            log.info("rollout to %s is done", rollout.target.exact)
            self._metrics.count_rollout("active")
            await self._after_switch(run, active)
        finally:
            self._run = None

    def _retargeted(self, rollout: Rollout) -> Rollout:
        """The rollout of one collection, to the version that serves by now or that the collection has by now.

        The server may have moved on while it waited.
        """
        collection = self._collections.get(rollout.id)
        if collection is None:
            return rollout
        target, vectors = rollout.target, collection.writing
        if rollout.id in self._keeps_version and vectors is not None:
            target = vectors.version.ref
        if target.name == self._active.ref.name:
            target = self._active.ref
        return replace(rollout, target=target)

    async def _save_running(self, rollout: Rollout) -> None:
        await self._save(replace(rollout, finished_at=_now()) if rollout.has_ended else rollout)

    async def _after_switch(self, run: RolloutRun, former: VersionRef) -> None:
        """Keep what the data folder needs now, and forget the rest."""
        if run.rollout.collection is None and former != self._active.ref:
            self._kept.ref = former if self._parts.keeps_previous else None
        await self._keep_bundles()
        await self._move_newcomers(run)
        for collection in run.moving:
            if not collection.dropped:
                with suppress(NotFound):
                    while await self._parts.store.forget_vectors(collection.name, FORGET_ROWS):
                        pass

    async def _move_newcomers(self, run: RolloutRun) -> None:
        """Let collections follow that were created between the last look of a rollout and its switch."""
        if run.rollout.collection is not None:
            return
        for collection in self._parts.collections.loaded():
            if collection.model in run.names and collection not in run.moving and not collection.stays:
                with suppress(DiptychError):
                    await self.move_collection(collection.name, model=self._active.ref.name)

    async def _keep_bundles_and(self, ref: VersionRef) -> None:
        """Keep copies of what is needed, and of one version more. Raises StoreError."""
        refs = {*self._parts.collections.needed_versions(), self._active.ref, ref}
        if self._kept.ref is not None:
            refs.add(self._kept.ref)
        try:
            await asyncio.to_thread(self._parts.bundles.keep, sorted(refs, key=str))
        except BundleError as error:  # of a collection whose version was lost before; all others are kept
            log.warning("not all versions are kept that stored vectors need: %s", error)

    async def _keep_bundles(self) -> None:
        try:
            await self._keep_bundles_and(self._active.ref)
        except DiptychError as error:
            log.warning("the data folder keeps no copy of what it needs: %s", error)

    def _pace(self) -> Pace:
        return EncoderShare(self._share, self._busy_s)

    def _busy_s(self) -> float:
        return sum(pipeline.embedder.busy_s for pipeline in self._parts.versions.pipelines())

    async def _watch(self) -> None:
        """Look for a new version of the active model, as the policy says."""
        await self._keep_bundles()
        while True:
            try:
                await self._look()
            except (DiptychError, OSError) as error:
                log.warning("the model repository cannot be read: %s", error)
            await asyncio.sleep(self._poll_s)

    async def _look(self) -> None:
        await self._look_for_asked_model()
        if any(one.collection is None for one in self._open_ones()):
            return
        await self._look_at_stays()
        found = await asyncio.to_thread(self._policy.wanted, self._active.ref, self._was_tried)
        if found is not None:
            await self.activate(found.name, found.version)

    async def _look_at_stays(self) -> None:
        """Let collections follow again that had stayed for rows that are gone by now; once in a while."""
        if time.monotonic() - self._stays_looked_at < LOOK_AT_STAYS_S:
            return
        self._stays_looked_at = time.monotonic()
        if any(collection.stays for collection in self._parts.collections.loaded()):
            await self._align()
            self._wake.set()

    def _was_tried(self, ref: VersionRef) -> bool:
        """Whether a rollout to it has ended since the server moved last: a person decides then."""
        ended = [one for one in self._known.values() if one.collection is None and one.has_ended]
        return any(one.target == ref for one in ended)


def _has_vectors_of(collection: LoadedCollection, active: LoadedVersion) -> bool:
    current = collection.current
    if current is None or current.version is not active:
        return False
    if collection.precision == SERVER:
        return current.identity == active.pipelines.for_collections.model.identity
    return current.model.precision == collection.precision


def _new(target: VersionRef) -> Rollout:
    return Rollout(id=secrets.token_hex(8), target=target, state="waiting", created_at=_now())


def _now() -> str:
    return datetime.now(UTC).isoformat()
