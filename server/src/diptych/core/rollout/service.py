"""The public methods of rollouts, which routes call."""

import asyncio
import builtins
import logging
from collections.abc import Mapping

from diptych.core.collections.stored.peers import Peers
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.ports import Metrics
from diptych.core.rollout.known import MAX_SHOWN, KnownRollouts
from diptych.core.rollout.pacing import EncoderShare
from diptych.core.rollout.parts import RolloutParts
from diptych.core.rollout.ports import SwitchRefused
from diptych.core.rollout.previous import KeptVersion
from diptych.core.rollout.triggers import RolloutTriggers
from diptych.core.rollout.types import (
    CollectionProgress,
    Progress,
    Rollout,
    RolloutStatus,
    ServedVersions,
)
from diptych.core.rollout.watcher import RepositoryWatcher
from diptych.core.rollout.worker import RolloutWorker
from diptych.core.serving.version import Version
from diptych.core.types import Target, VersionRef
from diptych.errors import ConfigError, Conflict, DiptychError, InvalidValue, NotFound

log = logging.getLogger(__name__)

LOOK_S = 0.5  # between two looks at rollouts of other servers


class Rollouts:
    """Moves the server with its collections between versions and precisions, one rollout at a time."""

    def __init__(
        self,
        parts: RolloutParts,
        triggers: RolloutTriggers,
        *,
        metrics: Metrics,
        poll_s: float = 2.0,
    ) -> None:
        """`poll_s`: between looks at the repository."""
        self._parts = parts
        self._triggers = triggers
        self._kept = KeptVersion(parts)
        self._known = KnownRollouts(parts.store)
        self._worker = RolloutWorker(
            parts,
            self._known,
            self._kept,
            metrics,
            pace=lambda: EncoderShare(parts.versions.busy_s),
            wanted=triggers.precision or parts.serving.current.version.target.precision,
        )
        self._watcher = RepositoryWatcher(parts, self._known, triggers, self.activate, poll_s=poll_s)
        self._background = TaskSet()
        self._activating = asyncio.Lock()

    async def open(self) -> None:
        """Resume the rollout that had not ended, and start to watch the model repository."""
        served, active = await self._parts.store.served(), self._active.target
        others = await self._peers.others()
        if others and served is not None and served.active != active:
            raise ConfigError(
                f"other servers of the database serve {served.active.exact}, and this one can only serve "
                f"{active.exact}: start it with the same model versions, or stop the others first"
            )
        if served is not None:
            # A converted data folder without vectors records "auto": the start has chosen.
            recorded = active.precision if served.wanted == "auto" else served.wanted
            self._worker.wanted = self._triggers.precision or recorded
        if served is None or served.active != active:
            begun = Rollout.new(active).ended(
                "active"
            )  # so that the watcher does not undo a move to an older
            try:
                async with self._peers.writing_alone():
                    await self._parts.collections.catch_up()
                    chosen = ServedVersions(active, None, self._worker.wanted)
                    await self._parts.store.switch(chosen, {}, begun)
            except SwitchRefused as error:
                raise ConfigError(f"{active.exact} cannot be served now: {error}; start again") from error
        else:
            self._kept.target = served.previous
        await self._known.open()
        await self._watcher.open()
        self._background.start(self._watcher.watch(), "watching the model repository")
        self._start()

    async def open_read_only(self) -> None:
        """Know the rollouts that there were; none is resumed, and nothing is watched.

        Where other servers use the database, this one moves with them, and they do not wait for it: from a
        switch until it has loaded the version, it answers nothing about collections. Raises ConfigError for a
        database that no server has used yet.
        """
        await self._known.open()
        if self._peers.is_alone:
            return
        if await self._parts.store.served() is None:
            raise ConfigError("no server has served the database yet: start one that may write first")
        self._start()

    def _start(self) -> None:
        """Start to run rollouts, or to take part in those of other servers."""
        idle = EncoderShare(self._parts.versions.busy_s, only_spare=True)
        keeping_up = self._kept.keep_up(idle, lambda: self._known.under_way is not None)
        self._background.start(self._worker.work(), "running rollouts")
        self._background.start(keeping_up, "keeping the version that served before")
        if not self._peers.is_alone:
            self._background.start(self._look_at_others(), "taking part in rollouts of other servers")

    async def close(self) -> None:
        """Stop; a rollout that is under way is resumed by the next start."""
        self._worker.stop()
        await self._background.close()
        await self._worker.close()

    async def activate(
        self,
        name: str,
        version: int | None = None,
        precision: str | None = None,
        *,
        despite_labels: bool = False,
    ) -> Rollout:
        """Start a rollout to a version (None: the newest) in a precision, and return it.

        Without a precision: in the recorded one if the version has it. `despite_labels`: even if it agrees
        less with people on their label sets; a rollout to it that is under way goes on so. To the version
        that served before it is a rollback: nothing is compared.

        A rollout that is under way is cancelled. What is active already gives a rollout in the state
        "active". Raises NotFound, BundleError, ConfigError, InvalidValue for a precision that the version
        lacks. Where several servers use the database, the one that lives longest runs the rollout, and all
        switch at once.
        """
        async with self._activating:  # else two at once would not see each other, and both would run
            await self._refresh()
            target = await self._target(await self._ref(name, version), precision)
            for rollout in self._known.open_ones():
                if rollout.target != target:
                    await self._worker.cancel(rollout, f"{target} is activated instead")
            if (joined := await self._joined(target, despite_labels=despite_labels)) is not None:
                return joined
            rollout = Rollout.new(target, despite_labels=despite_labels)
            if target == self._active.target:
                rollout = rollout.ended("active")
            return await self._known.add(rollout)

    async def _joined(self, target: Target, *, despite_labels: bool) -> Rollout | None:
        """The rollout to this target that is under way, if it may do what this activation may do.

        One that was compared already may be about to fail by its labels: another one comes after it then.
        """
        for rollout in self._known.open_ones():
            if rollout.despite_labels or not despite_labels:
                return rollout
            if rollout.state != "compared" and self._worker.leads:
                return await self._known.allow_less_agreement(rollout)
        return None

    async def cancel(self, id: str) -> Rollout:
        """End a rollout; what served before serves on. Raises NotFound, and Conflict once it has ended."""
        await self._refresh()
        rollout = self._known.get(id)
        if rollout.has_ended:
            raise Conflict(f"rollout {id!r} has ended: it is {rollout.state}")
        await self._worker.cancel(rollout, "cancelled by a request")
        await self._refresh()
        return self._known.get(id)

    async def list(self, limit: int = MAX_SHOWN) -> builtins.list[Rollout]:
        """The newest rollouts, newest first."""
        await self._refresh()
        return self._known.newest(limit)

    async def get(self, id: str) -> Rollout:
        """One rollout. Raises NotFound."""
        await self._refresh()
        return self._known.get(id)

    def progress(self, id: str) -> Progress | None:
        """How far the rollout has come; None unless it is under way."""
        run = self._known.under_way
        is_it = run is not None and run.rollout is not None and run.rollout.id == id
        return run.progress() if run is not None and is_it else None

    def failures(self, name: str) -> Mapping[int, str]:
        """Why versions of a model could not be activated, by their number, of each the newest attempt."""
        return self._known.failures(name)

    def of_collections(self) -> Mapping[str, CollectionProgress]:
        """The collections that the rollout under way moves, by their names, once they are being embedded."""
        run = self._known.under_way
        return {} if run is None else run.of_collections()

    async def status(self) -> RolloutStatus:
        """The version that serves, the one before, and the rollout under way.

        What served with another decode mode is left out: a change of that setting is not rolled back.
        """
        await self._refresh()
        previous, run = await self._kept.status(), self._known.under_way
        if previous is not None and previous.target.decode != self._triggers.decode:
            previous = None
        return RolloutStatus(
            active=self._active.target,
            policy=self._triggers.kind,
            previous=previous,
            running=self._running(),
            progress=None if run is None else run.progress(),
        )

    @property
    def _peers(self) -> Peers:
        return self._parts.collections.peers

    def _running(self) -> Rollout | None:
        """The rollout under way, which may run on another server."""
        if self._known.run is not None:
            return self._known.run.rollout
        waiting = [] if self._peers.is_alone else self._known.open_ones()
        return waiting[0] if waiting else None

    async def _refresh(self) -> None:
        """Know what other servers have done to rollouts."""
        if not self._peers.is_alone:
            await self._known.refresh(leads=self._worker.leads)

    async def _look_at_others(self) -> None:
        """Know what other servers do, and take part in it, again and again."""
        while True:
            try:
                await self._take_part()
            except DiptychError as error:
                log.debug("it is not known what other servers do: %s", error)
            await asyncio.sleep(LOOK_S)

    async def _take_part(self) -> None:
        leads, active = await self._peers.leads(), self._active
        await self._known.refresh(leads=leads)
        served = await self._parts.store.served()
        if self._active is not active:
            return  # what was read may be older than the switch
        if served is not None and served.active == self._active.target:
            self._kept.target, self._worker.wanted = served.previous, served.wanted
            self._note_stays()
        self._worker.take_part(None if served is None else served.active, leads=leads)

    def _note_stays(self) -> None:
        """Know why collections stay on their version, as the server says that ran the last rollout."""
        ended = (one for one in self._known.newest() if one.state == "active")
        for name, reason in (last.stays if (last := next(ended, None)) else {}).items():
            if name in self._parts.collections:
                self._parts.collections[name].stays = reason

    @property
    def _active(self) -> Version:
        return self._parts.serving.current.version

    async def _ref(self, name: str, version: int | None) -> VersionRef:
        """The version that is meant: one that serves or is kept, else one of the model repository."""
        if version is None:
            newest = await asyncio.to_thread(self._parts.bundles.newest, name)
            if newest is None:
                raise NotFound(f"no version of model {name[:80]!r} can be served here")
            return newest
        loaded = [one.ref for one in self._parts.versions.loaded()]
        kept = [*([self._kept.target.ref] if self._kept.target else []), self._active.ref, *loaded]
        # Where two have this number, the former one comes first: this is the way back.
        known = next((ref for ref in kept if (ref.name, ref.version) == (name, version)), None)
        try:
            found = await asyncio.to_thread(self._parts.bundles.find, name, version)
        except NotFound:
            if known is None:
                raise
            return known
        return known if known is not None and found == self._active.ref else found

    async def _target(self, ref: VersionRef, precision: str | None) -> Target:
        """The version in the named precision, or in the recorded one if it has that."""
        if precision is None and ref == self._active.ref:
            precision = self._active.target.precision
        there = await asyncio.to_thread(self._parts.bundles.precisions, ref)
        if precision is not None and precision not in there:
            raise InvalidValue(
                f"{ref} has no precision {precision[:40]!r}, only {', '.join(there)}", "precision"
            )
        wanted = precision or self._worker.wanted
        if wanted not in there:
            log.warning("%s has no precision %s, it is served in %s", ref, wanted, there[0])
            wanted = there[0]
        return Target(ref, wanted, self._triggers.decode)
