"""Background tasks that nobody awaits."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from diptych.errors import NotReady

log = logging.getLogger(__name__)


class TaskSet:
    """Keeps references to tasks until they end; logs their errors."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], what: str) -> "asyncio.Task[None]":
        """Start `work` now and return its task; `what` names it in the log if it fails."""
        task = asyncio.create_task(_logged(work, what))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # if it was cancelled before it began
        return task

    async def close(self) -> None:
        """Cancel the tasks that still run and wait until they have ended."""
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
