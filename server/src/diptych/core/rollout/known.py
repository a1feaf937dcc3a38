"""The rollouts that the server knows: those that wait, the one that runs, and the newest that have ended."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from diptych.core.rollout.join import RolloutJoin
from diptych.core.rollout.ports import RolloutStore
from diptych.core.rollout.run import RolloutRun
from diptych.core.rollout.types import Rollout
from diptych.core.types import VersionRef
from diptych.errors import NotFound

MAX_SHOWN = 100
MAX_REFRESHED = 8  # by each look; older ones do not change any more
MAX_KNOWN = 1_000  # versions that were tried, of each the newest rollout


class KnownRollouts:
    """Rollouts by id, in the order of their creation, in memory and in the store."""

    def __init__(self, store: RolloutStore) -> None:
        self._store = store
        self._rollouts: dict[str, Rollout] = {}
        self.run: RolloutRun | None = None  # the one that runs
        self.join: RolloutJoin | None = None  # of a rollout that another server runs
        self.begun = asyncio.Event()  # set when there may be one that waits

    async def open(self) -> None:
        """Read the stored ones; those that had not ended wait for their turn again."""
        for rollout in reversed(await self._store.rollouts(MAX_SHOWN + MAX_KNOWN)):
            self.note(rollout if rollout.has_ended else replace(rollout, state="waiting"))

    async def refresh(self, *, leads: bool) -> None:
        """Know what other servers have stored. Where this server `leads`, it runs what has not ended."""
        for rollout in reversed(await self._store.rollouts(MAX_REFRESHED)):
            is_here = self.run is not None and self.run.rollout.id == rollout.id
            known = self._rollouts.get(rollout.id)
            if rollout.has_ended:
                self.note(rollout)
            elif not is_here and (
                known is None or not known.has_ended
            ):  # else it has ended since it was read
                self.note(replace(rollout, state="waiting") if leads else rollout)

    @property
    def under_way(self) -> RolloutRun | RolloutJoin | None:
        """The rollout that this server runs or takes part in."""
        return self.run or self.join

    def get(self, id: str) -> Rollout:
        """One rollout as it is now. Raises NotFound."""
        if id not in self._rollouts:
            raise NotFound(f"there is no rollout {id[:80]!r}")
        run, known = self.run, self._rollouts[id]  # ended: cancelled, also on another server
        return run.rollout if run is not None and run.rollout.id == id and not known.has_ended else known

    def stored(self, id: str) -> Rollout:
        """One rollout as it is in the store, as far as that is known."""
        return self._rollouts[id]

    def newest(self, limit: int = MAX_SHOWN) -> list[Rollout]:
        """The newest rollouts, newest first."""
        return [self.get(id) for id in reversed(self._rollouts)][:limit]

    def open_ones(self) -> list[Rollout]:
        """The rollouts that wait, and the one that runs."""
        return [one for one in map(self.get, self._rollouts) if not one.has_ended]

    def waiting(self) -> list[Rollout]:
        """The rollouts that wait."""
        return [one for one in self._rollouts.values() if one.state == "waiting"]

    def failures(self, name: str) -> Mapping[int, str]:
        """Why versions of a model could not be activated, by their number, of each the newest attempt."""
        return {
            ref.version: one.reason
            for ref, one in self._last().items()
            if ref.name == name and one.state == "failed"
        }

    def tried(self) -> set[VersionRef]:
        """The versions to which a rollout has ended: a person decides then."""
        return set(self._last())

    def failed(self) -> set[VersionRef]:
        """The versions to which the newest rollout has failed."""
        return {ref for ref, one in self._last().items() if one.state == "failed"}

    def note(self, rollout: Rollout) -> None:
        """Know a rollout, or its new state, without storing it."""
        self._rollouts[rollout.id] = rollout

    async def add(self, rollout: Rollout) -> Rollout:
        """Store a new rollout, which waits for its turn then. Raises StoreError."""
        await self.save(rollout)
        self.begun.set()
        return rollout

    async def allow_less_agreement(self, rollout: Rollout) -> Rollout:
        """Let a rollout that was not compared yet switch despite its labels. Raises StoreError."""
        allowed = replace(rollout, despite_labels=True)
        if self.run is not None and self.run.rollout.id == rollout.id:
            self.run.rollout = allowed
        self.note(allowed)  # before the write, during which the rollout goes on
        await self._store.put_rollout(allowed)
        return allowed

    async def save(self, rollout: Rollout) -> None:
        """Store the new state of a rollout. Raises StoreError."""
        await self._store.put_rollout(rollout)
        self.note(rollout)
        if rollout.has_ended:
            self._forget_old()

    def _forget_old(self) -> None:
        """Forget rollouts that have ended, but not by which the watcher knows what was tried."""
        ended = [one for one in self._rollouts.values() if one.has_ended]
        kept = {one.id for one in [*ended[-MAX_SHOWN:], *[*self._last().values()][:MAX_KNOWN]]}
        for rollout in ended:
            if rollout.id not in kept:
                del self._rollouts[rollout.id]

    def _last(self) -> dict[VersionRef, Rollout]:
        """The newest ended rollout to each version, newest first."""
        last: dict[VersionRef, Rollout] = {}
        for rollout in reversed(self._rollouts.values()):
            if rollout.has_ended:
                last.setdefault(rollout.target.ref, rollout)
        return last
