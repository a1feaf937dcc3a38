"""The rollouts that the server knows: those that wait, the one that runs, and the newest that have ended."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.service import Collections
from diptych.core.rollout.ports import RolloutStore
from diptych.core.rollout.run import RolloutRun
from diptych.core.rollout.types import Rollout
from diptych.core.types import VersionRef
from diptych.errors import NotFound

MAX_SHOWN = 100
MAX_KNOWN = 1_000  # versions that were tried, of each the newest rollout of the server


@dataclass(eq=False)
class Moved:
    """The collection of a rollout, which may be renamed meanwhile.

    `keeps_version`: the rollout changes its precision alone. `release` releases what the rollout would use.
    """

    collection: LoadedCollection
    keeps_version: bool = False
    release: Callable[[], None] = lambda: None


class KnownRollouts:
    """Rollouts by id, in the order of their creation, in memory and in the store."""

    def __init__(self, store: RolloutStore) -> None:
        self._store = store
        self._rollouts: dict[str, Rollout] = {}
        self._moved: dict[str, Moved] = {}  # by rollout of one collection
        self.run: RolloutRun | None = None  # the one that runs
        self.begun = asyncio.Event()  # set when there may be one that waits

    async def open(self, collections: Collections) -> None:
        """Read the stored ones; those that had not ended wait for their turn again."""
        for rollout in reversed(await self._store.rollouts(2 * MAX_SHOWN + MAX_KNOWN)):
            self.note(rollout if rollout.has_ended else replace(rollout, state="waiting"))
            if rollout.collection is not None and rollout.collection in collections:
                self._moved[rollout.id] = Moved(collections[rollout.collection])

    def get(self, id: str) -> Rollout:
        """One rollout as it is now, with the present name of its collection. Raises NotFound."""
        if id not in self._rollouts:
            raise NotFound(f"there is no rollout {id[:80]!r}")
        run = self.run
        return self._named(run.rollout if run is not None and run.rollout.id == id else self._rollouts[id])

    def newest(self, limit: int = MAX_SHOWN) -> list[Rollout]:
        """The newest rollouts, newest first."""
        return [self.get(id) for id in reversed(self._rollouts)][:limit]

    def open_ones(self) -> list[Rollout]:
        """Those that wait, and the one that runs."""
        return [one for one in map(self.get, self._rollouts) if not one.has_ended]

    def waiting(self) -> list[Rollout]:
        """Those that wait."""
        return [one for one in self._rollouts.values() if one.state == "waiting"]

    def moved(self, rollout: Rollout) -> Moved | None:
        """The collection of a rollout of one collection."""
        return self._moved.get(rollout.id)

    def failures(self, name: str) -> Mapping[int, str]:
        """Why versions of a model could not be activated, by their number, of each the newest attempt."""
        last = self._last_of_server().values()
        return {
            one.target.version: one.reason
            for one in last
            if one.target.name == name and one.state == "failed"
        }

    def tried(self) -> set[VersionRef]:
        """The versions to which a rollout of the server has ended: a person decides then."""
        return set(self._last_of_server())

    def failed(self) -> set[VersionRef]:
        """The versions to which the newest rollout of the server has failed."""
        return {ref for ref, one in self._last_of_server().items() if one.state == "failed"}

    def note(self, rollout: Rollout) -> None:
        """Know a rollout, or its new state, without storing it."""
        self._rollouts[rollout.id] = rollout

    async def add(self, rollout: Rollout, moved: Moved | None = None) -> Rollout:
        """Store a new rollout, which waits for its turn then. Raises StoreError."""
        if moved is not None:
            self._moved[rollout.id] = moved
        try:
            await self.save(rollout)
        except BaseException:
            self._release(rollout)
            raise
        self.begun.set()
        return rollout

    async def save(self, rollout: Rollout) -> None:
        """Store the new state of a rollout. Raises StoreError."""
        rollout = self._named(rollout)
        await self._store.put_rollout(rollout)
        self.note(rollout)
        if rollout.has_ended:
            self._release(rollout)
            self._forget_old()

    def _release(self, rollout: Rollout) -> None:
        if (moved := self.moved(rollout)) is not None:
            moved.release()
            moved.release = lambda: None

    def _forget_old(self) -> None:
        """Forget rollouts that have ended, but not by which the watcher knows what was tried."""
        ended = [one for one in self._rollouts.values() if one.has_ended]
        of_server = [one for one in ended if one.collection is None]
        of_collections = [one for one in ended if one.collection is not None]
        last = [*self._last_of_server().values()][:MAX_KNOWN]
        kept = {one.id for one in [*of_server[-MAX_SHOWN:], *of_collections[-MAX_SHOWN:], *last]}
        for rollout in ended:
            if rollout.id not in kept:
                del self._rollouts[rollout.id]
                self._moved.pop(rollout.id, None)

    def _last_of_server(self) -> dict[VersionRef, Rollout]:
        """By version, the newest ended rollout of the server to it; newest first."""
        last: dict[VersionRef, Rollout] = {}
        for rollout in reversed(self._rollouts.values()):
            if rollout.has_ended and rollout.collection is None:
                last.setdefault(rollout.target, rollout)
        return last

    def _named(self, rollout: Rollout) -> Rollout:
        """The rollout with the present name of its collection."""
        moved = self.moved(rollout)
        return rollout if moved is None else replace(rollout, collection=moved.collection.name)
