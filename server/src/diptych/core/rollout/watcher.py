"""Watches the model repository, and starts the rollouts that the settings ask for."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from diptych.core.collections.stored.peers import Peers
from diptych.core.rollout.known import KnownRollouts
from diptych.core.rollout.parts import RolloutParts
from diptych.core.rollout.triggers import RolloutTriggers
from diptych.core.rollout.types import Rollout
from diptych.core.serving.version import Version
from diptych.errors import Conflict, DiptychError, StoreUnavailable

log = logging.getLogger(__name__)

LOOK_AT_STAYS_S = 60.0  # between looks whether a collection may follow again
MAX_LOOK_AT_STAYS_S = 3600.0  # while rollouts that let collections follow fail again and again
MAX_DOUBLINGS = 6


class RepositoryWatcher:
    """Looks for versions to move to, and for collections that may follow the active one but do not."""

    def __init__(
        self,
        parts: RolloutParts,
        known: KnownRollouts,
        triggers: RolloutTriggers,
        activate: Callable[[str, int, str | None], Awaitable[object]],
        *,
        poll_s: float,
    ) -> None:
        """`activate` starts a rollout to a version, in a precision if one is named. `poll_s`: between looks
        at the repository.
        """
        self._parts = parts
        self._known = known
        self._triggers = triggers
        self._activate = activate
        self._poll_s = poll_s
        self._is_open = False
        self._stays_looked_at = time.monotonic()
        self._n_tries = 0  # rollouts that were to let collections follow, one after the other

    async def open(self) -> None:
        """Start a rollout: to what the settings name since this start, or for collections without vectors.

        Not while other servers use the database, whose settings may differ: later then, once none does.
        """
        if others := await self._peers.others():
            log.info("settings of versions wait while other servers use the database: %s", "; ".join(others))
            return
        self._is_open = True
        await self._note_configured_model()
        await self._note_configured_precision()
        if not self._known.waiting():
            await self._align()

    async def watch(self) -> None:
        """Look for a new version of the active model, as the policy says, and for calibrations, for ever."""
        while True:
            try:
                await self._parts.versions.read_calibrations()
                await self._look()
            except StoreUnavailable:
                pass  # the store's log has it
            except (DiptychError, OSError) as error:
                log.warning("the model repository cannot be read: %s", error)
            await asyncio.sleep(self._poll_s)

    @property
    def _peers(self) -> Peers:
        return self._parts.collections.peers

    @property
    def _active(self) -> Version:
        return self._parts.serving.current.version

    async def _note_configured_model(self) -> None:
        """Forget the name that the settings give, unless it is another one than at the last start."""
        configured, triggers = self._triggers.configured_model, self._triggers
        if configured is None or configured == await self._parts.store.configured_model():
            triggers.configured_model = None
        elif configured == self._active.ref.name:
            await self._end_configured(configured)
        else:
            await self._look_for_configured_model()
        if triggers.configured_model is not None:
            log.warning(
                "no version of %s, which the settings name, can be served here: %s serves until there is one",
                triggers.configured_model,
                self._active.ref,
            )

    async def _look_for_configured_model(self) -> None:
        """Activate the model that the settings name since this start, once it has a version."""
        found = await asyncio.to_thread(self._triggers.newest_configured)
        if found is not None:
            log.info(
                "%s serves until %s, which the settings name now, is rolled out", self._active.ref, found
            )
            await self._activate(found.name, found.version, None)
            await self._end_configured(found.name)

    async def _note_configured_precision(self) -> None:
        """Move to the precision and decode mode that the settings name: what serves, or is rolled out.

        What serves, and the rollout, go on if that fails.
        """
        targets, triggers = [one.target for one in self._known.waiting()], self._triggers
        target = targets[-1] if targets else self._active.target
        precision = triggers.precision or target.precision
        if triggers.configured_model is not None or (precision, triggers.decode) == (
            target.precision,
            target.decode,
        ):
            return
        try:
            await self._activate(target.ref.name, target.ref.version, precision)
        except DiptychError as error:
            log.warning("%s is served, not in %s as the settings say: %s", target, precision, error)

    async def _end_configured(self, name: str) -> None:
        await self._parts.store.set_configured_model(name)
        self._triggers.configured_model = None

    async def _look(self) -> None:
        if not await self._peers.leads():
            return
        is_alone = not await self._peers.others()
        if is_alone and not self._is_open:
            await self.open()
        if self._is_open and is_alone:
            await self._look_for_configured_model()
        if self._known.open_ones():
            return
        await self._look_at_stays()
        if not is_alone and self._triggers.kind == "pinned":
            return
        tried, failed = self._known.tried(), self._known.failed()
        found = await asyncio.to_thread(self._triggers.wanted, self._active.ref, tried, failed)
        if found is not None:
            await self._activate(found.name, found.version, None)

    async def _look_at_stays(self) -> None:
        """Let collections follow that could not before, once in a while: the rows that kept no image may be
        gone.
        """
        wait_s = min(LOOK_AT_STAYS_S * 2**self._n_tries, MAX_LOOK_AT_STAYS_S)
        if time.monotonic() - self._stays_looked_at < wait_s:
            return
        self._stays_looked_at = time.monotonic()
        self._n_tries = min(self._n_tries + 1, MAX_DOUBLINGS) if await self._align() else 0

    async def _begin(self, rollout: Rollout) -> None:
        """Start a rollout, which other servers have to know of, too."""
        if self._peers.is_alone:
            self._known.note(rollout)
            self._known.begun.set()
        else:
            await self._known.add(rollout)

    async def _align(self) -> bool:
        """Let collections move that do not have vectors of the active version, although they could.

        Returns whether there are any.
        """
        active = self._active
        for collection in list(self._parts.collections):
            if collection.pair is not None and collection.pair.version is active:
                continue
            try:
                await self._parts.collections.moves.require_embeddable(collection, active.identity)
            except Conflict as error:
                collection.stays = error.message
            else:
                await self._begin(Rollout.new(active.target))
                return True
        return False
