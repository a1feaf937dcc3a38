"""Watches the model repository, and starts the rollouts that the settings ask for."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from diptych.core.collections.collection import LoadedCollection
from diptych.core.encoding.versions import LoadedVersion
from diptych.core.rollout.known import KnownRollouts
from diptych.core.rollout.policy import RolloutPolicy
from diptych.core.rollout.run import RolloutParts
from diptych.core.rollout.types import Rollout
from diptych.core.types import SERVER
from diptych.errors import Conflict, DiptychError, InvalidValue

log = logging.getLogger(__name__)

LOOK_AT_STAYS_S = 60.0  # between looks whether a collection may follow again


class RepositoryWatcher:
    """Looks for versions to move to, and for collections that may follow the active one but do not."""

    def __init__(
        self,
        parts: RolloutParts,
        known: KnownRollouts,
        policy: RolloutPolicy,
        activate: Callable[[str, int], Awaitable[object]],
        *,
        poll_s: float,
    ) -> None:
        """`activate` starts a rollout of the server. `poll_s`: between looks at the repository."""
        self._parts = parts
        self._known = known
        self._policy = policy
        self._activate = activate
        self._poll_s = poll_s
        self._stays_looked_at = time.monotonic()

    async def open(self) -> None:
        """Start what the settings ask for anew, or else what collections lack."""
        await self._note_asked_model()
        if not self._known.waiting():
            await self._align()

    async def watch(self) -> None:
        """Look for a new version of the active model, as the policy says, and for calibrations, for ever."""
        while True:
            try:
                await self._parts.versions.read_calibrations()
                await self._look()
            except (DiptychError, OSError) as error:
                log.warning("the model repository cannot be read: %s", error)
            await asyncio.sleep(self._poll_s)

    @property
    def _active(self) -> LoadedVersion:
        return self._parts.active.now.version

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
            await self._activate(found.name, found.version)
            await self._end_asking(found.name)

    async def _end_asking(self, name: str) -> None:
        await self._parts.store.set_asked_model(name)
        self._policy.asked_model = None

    async def _look(self) -> None:
        await self._look_for_asked_model()
        if any(one.collection is None for one in self._known.open_ones()):
            return
        await self._look_at_stays()
        tried, failed = self._known.tried(), self._known.failed()
        found = await asyncio.to_thread(self._policy.wanted, self._active.ref, tried, failed)
        if found is not None:
            await self._activate(found.name, found.version)

    async def _look_at_stays(self) -> None:
        """Let collections follow again that had stayed for rows that are gone by now; once in a while."""
        if time.monotonic() - self._stays_looked_at < LOOK_AT_STAYS_S:
            return
        self._stays_looked_at = time.monotonic()
        has_stays = any(collection.stays for collection in self._parts.collections.loaded())
        if has_stays and self._active.ref not in self._known.failed():
            await self._align()

    async def _align(self) -> None:
        """Let collections move that do not have vectors of the active version, although they follow it."""
        active = self._active
        for collection in self._parts.collections.loaded():
            if collection.model != active.ref.name or _has_vectors_of(collection, active):
                continue
            try:
                active.pipelines.require_not_refused(collection.precision)
                identity = active.pipelines.for_collections.model.identity
                await self._parts.collections.moves.require_embeddable(collection.name, identity)
            except (Conflict, InvalidValue) as error:
                collection.stays = error.message
            else:
                self._known.note(Rollout.new(active.ref))
                self._known.begun.set()
                return


def _has_vectors_of(collection: LoadedCollection, active: LoadedVersion) -> bool:
    current = collection.current
    if current is None or current.version is not active:
        return False
    if collection.precision == SERVER:
        return current.identity == active.pipelines.for_collections.model.identity
    return (current.model.precision, current.model.decode) == (collection.precision, active.model.decode)
