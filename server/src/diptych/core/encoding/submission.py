"""Some items that wait together, and what became of each; knows nothing of how that comes about."""

import asyncio
import time
from collections.abc import Sequence
from typing import Generic, TypeVar

from diptych.core.ports import Stage
from diptych.core.timing import current_spans
from diptych.core.types import Outcome

Item = TypeVar("Item")


class Submission(Generic[Item]):
    """One future for all items: a thousand futures would cost more than the queue they wait in."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.since = time.perf_counter()
        self.spans = current_spans()  # of the request that they belong to, if any
        self._outcomes: dict[int, Outcome] = {}
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_waited_for(self) -> bool:
        """False once all has an outcome, or the waiter was cancelled."""
        return not self._done.done()

    def settle(self, index: int, outcome: Outcome) -> None:
        """The first outcome of an item is the one that counts."""
        self._outcomes.setdefault(index, outcome)
        if len(self._outcomes) == len(self.items) and not self._done.done():
            self._done.set_result(None)

    def note(self, name: Stage, began: float, ended: float) -> None:
        """A stage that some of the items went through."""
        if self.spans is not None:
            self.spans.add(name, began, ended)

    async def outcomes(self) -> list[Outcome]:
        """All of them, in the order of the items, once they are there."""
        await self._done
        return [self._outcomes[index] for index in range(len(self.items))]
