"""Jobs that other servers of the database run, and what becomes of those whose server is gone."""

import logging
import time
from contextlib import suppress

from diptych.core.collections.stored.peers import Peers
from diptych.core.jobs.ports import JobStore
from diptych.errors import StoreError

log = logging.getLogger(__name__)

GONE_S = 3_600.0  # until a job ends whose server does not start again
_PREFIX = "job "


class JobsOfOthers:
    """Says which server runs a job, as it alone has the input, and ends jobs whose server stays away."""

    def __init__(self, peers: Peers, store: JobStore) -> None:
        self._peers = peers
        self._store = store
        self._gone: dict[str, tuple[str, float]] = {}  # by job: the server, and since when that is known

    async def begin(self, id: str) -> None:
        """Note that this server runs a job. Raises StoreUnavailable."""
        await self._peers.announce(_PREFIX + id)

    async def end(self, id: str) -> None:
        """Note that no server runs a job any more. That this is not noted does no harm."""
        with suppress(StoreError):
            await self._peers.withdraw(_PREFIX + id, of_all=True)

    async def look(self) -> None:
        """Look which servers are gone, and end the jobs of those that stay away. Raises StoreError."""
        announced = await self._peers.announced(_PREFIX)
        now, before = time.monotonic(), self._gone
        self._gone = {
            id: (one.name, before[id][1] if id in before else now)
            for id, one in ((what.removeprefix(_PREFIX), one) for what, one in announced.items())
            if not one.is_alive
        }
        if self._gone and await self._peers.leads():
            for id, (name, since) in self._gone.items():
                if now - since >= GONE_S:
                    await self._fail(id, name)

    def obstacle(self, id: str) -> str:
        """Why nothing becomes of a job at the moment; empty if its server lives."""
        if id not in self._gone:
            return ""
        return (
            f"the server that ran it is gone ({self._gone[id][0]}): the job goes on once that server starts "
            f"again, and ends if it does not within {GONE_S / 60:.0f} minutes; or cancel it, and send again "
            "what has no outcome"
        )

    async def _fail(self, id: str, name: str) -> None:
        log.warning("job %s has failed: the server that ran it is gone (%s)", id, name)
        reason = f"the server that ran it is gone ({name}): send again what has no outcome"
        await self._store.finish(id, "failed", reason)
        await self.end(id)
