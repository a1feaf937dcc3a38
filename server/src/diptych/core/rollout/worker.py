"""Runs the rollouts that wait, one after the other."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.upkeep.reembed import Pace
from diptych.core.ports import Metrics
from diptych.core.rollout.join import RolloutJoin
from diptych.core.rollout.known import KnownRollouts
from diptych.core.rollout.parts import RolloutParts
from diptych.core.rollout.previous import KeptVersion
from diptych.core.rollout.run import RolloutRun
from diptych.core.rollout.types import Rollout
from diptych.core.types import Target, VersionRef
from diptych.errors import BundleError, DiptychError, StoreUnavailable

log = logging.getLogger(__name__)

FORGET_ROWS = 2_000  # vectors that are deleted in one write
AGAIN_S = 1.0  # after an outage of the database


class RolloutWorker:
    """Runs and cancels rollouts, and keeps and forgets afterwards what the data folder needs."""

    def __init__(
        self,
        parts: RolloutParts,
        known: KnownRollouts,
        kept: KeptVersion,
        metrics: Metrics,
        *,
        pace: Callable[[], Pace],
        wanted: str,
    ) -> None:
        """`pace` gives way to requests. `wanted`: the precision of the versions that have it."""
        self._parts = parts
        self._known = known
        self._kept = kept
        self._metrics = metrics
        self._pace = pace
        self.wanted = wanted
        self.leads = parts.collections.peers.is_alone  # whether this server runs rollouts
        self._to_join: tuple[Target, Rollout | None] | None = None  # what other servers serve, or will
        self._running: asyncio.Task[None] | None = None
        self._to_tidy: set[Collection] = set()  # may have vectors that nothing needs any more
        self._closing = False
        self._lost = ""  # the versions that could not be kept, as they were logged last

    async def work(self) -> None:
        """Run the rollouts that wait, for ever."""
        await self._keep_bundles()
        while True:
            self._known.begun.clear()
            next = self._next()
            if next is None:
                await self._known.begun.wait()
                continue
            self._running = asyncio.create_task(next)
            try:
                await asyncio.wait([self._running])
            finally:
                self._running.cancel()
            self._running = None
            await self._keep_bundles()
            await self._forget_vectors()

    def take_part(self, served: Target | None, *, leads: bool) -> None:
        """Do what this server has to do next to the others that use the database.

        The one that `leads` runs the rollouts. The others load what it moves to, and any one what is `served`
        since without it.
        """
        self.leads, self._to_join = leads, self._joined(served, leads=leads)
        run, join = self._known.run, self._known.join
        if run is not None and (not leads or self._to_join or self._known.stored(run.rollout.id).has_ended):
            self._stop_running("another server runs it, or has ended it")
            self._to_tidy.update(self._parts.collections if leads else ())
        if join is not None and (self._to_join is None or not join.fits(*self._to_join)):
            self._stop_running("it has ended, or this server runs it from now on")
        self._known.begun.set()

    def stop(self) -> None:
        """Stop: a rollout that fails from now on is resumed by the next start."""
        self._closing = True

    async def close(self) -> None:
        """Wait for the end of what runs, once `work` is cancelled."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def cancel(self, rollout: Rollout, reason: str) -> None:
        """Cancel a rollout that waits or runs. One that is past its switch ends by itself."""
        run, running = self._known.run, self._running
        cancelled = self._known.get(rollout.id).ended("cancelled", reason)
        self._known.note(cancelled)  # so that it does not begin, or begin again, meanwhile
        self._to_tidy.update(self._parts.collections)
        if run is not None and run.rollout.id == rollout.id and running is not None:
            running.cancel(reason)
            await asyncio.wait([running])
            if run.rollout.has_ended:  # it was switched before it could be cancelled
                self._known.note(run.rollout)
                return
        log.info("rollout to %s is cancelled: %s", rollout.target.exact, reason)
        await self._known.save(cancelled)
        self._metrics.count_rollout("cancelled")

    @property
    def _active(self) -> Target:
        return self._parts.serving.current.version.target

    def _joined(self, served: Target | None, *, leads: bool) -> tuple[Target, Rollout | None] | None:
        run = self._known.run
        switches = run is not None and run.rollout.target == served  # and is about to serve it
        if served is not None and served != self._active and not switches:
            return served, None
        for rollout in () if leads else self._known.open_ones():
            is_joined = self._known.join is not None and self._known.join.fits(rollout.target, rollout)
            if is_joined or rollout.state in {"embedding", "compared"}:
                return rollout.target, rollout
        return None

    def _next(self) -> Coroutine[Any, Any, None] | None:
        if self._to_join is not None:
            return self._join(*self._to_join)
        waiting = self._known.waiting() if self.leads else []
        return self._run(waiting[0]) if waiting else None

    def _stop_running(self, reason: str) -> None:
        if self._running is not None:
            self._running.cancel(reason)

    async def _join(self, target: Target, rollout: Rollout | None) -> None:
        """Take part in a rollout; what fails is tried again."""
        self._known.join = join = RolloutJoin(
            self._parts, target, rollout, self._known.get, self._keep_bundles_and
        )
        try:
            await join.run()
        except Exception as error:
            known = isinstance(error, DiptychError)
            log.warning("this server cannot move to %s yet: %s", target.exact, error, exc_info=not known)
            await asyncio.sleep(AGAIN_S)
        finally:
            self._known.join = None

    async def _run(self, rollout: Rollout) -> None:
        rollout = self._known.get(rollout.id)
        if rollout.has_ended:
            return  # it was cancelled before it could begin
        former = self._active
        self._known.run = run = RolloutRun(
            self._parts,
            rollout,
            self._known.save,
            self._pace,
            self._keep_bundles_and,
            wanted=self.wanted,
            on_switched=lambda run: self._note_switch(run, former),
        )
        log.info("rollout to %s begins, %s serves", rollout.target.exact, former.exact)
        try:
            await run.run()
        except asyncio.CancelledError:
            raise
        except StoreUnavailable as error:
            await self._note_outage(run, error)
        except Exception as error:
            if not self._closing:
                await self._note_failure(run, error)
        else:
            log.info("rollout to %s is done", rollout.target.exact)
        finally:
            self._known.run = None

    def _note_switch(self, run: RolloutRun, former: Target) -> None:
        """Know what serves from now on, and what served before, even if the run is cancelled afterwards."""
        self._known.note(run.rollout)
        self._metrics.count_rollout("active")
        self.wanted = run.wanted
        if former != self._active:
            self._kept.target = former
        self._to_tidy.update(self._parts.collections)

    async def _note_outage(self, run: RolloutRun, error: StoreUnavailable) -> None:
        """Try a rollout again after an outage of the database, where other servers may go on with it."""
        if self._parts.collections.peers.is_alone:
            await self._note_failure(run, error)
            return
        log.warning("rollout to %s begins again: %s", run.rollout.target.exact, error)
        self._known.note(replace(run.rollout, state="waiting", reason=""))
        await asyncio.sleep(AGAIN_S)

    async def _note_failure(self, run: RolloutRun, error: Exception) -> None:
        target = run.rollout.target.exact
        if not isinstance(error, DiptychError):
            log.error("rollout to %s failed", target, exc_info=error)
        reason = str(error) if isinstance(error, DiptychError) else f"unexpected {type(error).__name__}"
        if name := self._parts.collections.peers.name:
            reason = f"{name}: {reason}"
        log.error("rollout to %s failed, %s serves on: %s", target, self._active.exact, reason)
        run.rollout = failed = run.rollout.ended("failed", reason)
        self._known.note(failed)  # even if the disk is too full to store it
        self._metrics.count_rollout("failed")
        await self._known.save(failed)

    async def _keep_bundles_and(self, ref: VersionRef) -> None:
        """Keep copies of what is needed and will be, and of one version more. Raises StoreError."""
        targets = [rollout.target.ref for rollout in self._known.open_ones()]
        refs = {*self._parts.collections.needed_versions(), self._active.ref, ref, *targets}
        if self._kept.target is not None:
            refs.add(self._kept.target.ref)
        try:
            await asyncio.to_thread(self._parts.bundles.keep, sorted(refs, key=str))
        except BundleError as error:  # of a collection whose version was lost before; all others are kept
            if str(error) != self._lost:  # it is asked again with each rollout
                log.warning("not all versions are kept that stored vectors need: %s", error)
            self._lost = str(error)

    async def _keep_bundles(self) -> None:
        try:
            await self._keep_bundles_and(self._active.ref)
        except DiptychError as error:
            log.warning("the data folder keeps no copy of what it needs: %s", error)

    async def _forget_vectors(self) -> None:
        """Delete vectors that collections need no more, in small writes, while no rollout makes any.

        Those of a rollout that has failed are left until another one ends, so that it can be tried again.
        """
        while self._to_tidy:
            collection = self._to_tidy.pop()
            try:
                # What served before may be closed at the moment, as after a rollout that was cancelled.
                keep = {pair.identity for pair in self._parts.serving.pairs(collection.number)}
                for target in (self._kept.target, *(one.target for one in self._known.open_ones())):
                    keep |= await self._parts.collections.identities_of(target)
                while not collection.dropped and await self._parts.vectors.forget(
                    collection.number, FORGET_ROWS, keep=sorted(keep)
                ):
                    pass
            except DiptychError as error:
                log.warning("vectors of %s that nothing needs are left: %s", collection.name, error)
