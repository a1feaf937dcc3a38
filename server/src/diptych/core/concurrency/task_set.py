"""Run work that nobody waits for, and report how it ended; knows nothing of the work."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from diptych.errors import NotReady

log = logging.getLogger(__name__)


class TaskSet:
    """Holds tasks until they end; an error in one is logged, never lost."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """Begin now; `what` names the work in the log if it fails."""
        task = asyncio.create_task(_logged(work, what))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # work that was cancelled before it began

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _logged(work: Coroutine[Any, Any, None], what: str) -> None:
    try:
        await work
    except NotReady as error:
        log.info("%s stopped: %s", what, error)
    except Exception:
        log.exception("%s failed", what)
