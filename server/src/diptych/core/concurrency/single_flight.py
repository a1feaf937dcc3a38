"""Make for all who want it at the same time what they want alike; knows nothing of what it is."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


@dataclass(eq=False)
class _Flight(Generic[Made]):
    """One making, and how many wait for it."""

    task: "asyncio.Task[Made]"
    n_waiting: int = 0


class SingleFlight(Generic[Key, Made]):
    """Who asks for a key while that is being made waits for the same making. Used from one event loop.

    It is nobody's own: whoever is cancelled leaves it to the others, and the last who leaves ends it. What it
    raises all hear who wait, and nobody later: nothing is kept here.
    """

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Made]] = {}

    def __contains__(self, key: Key) -> bool:
        """Whether somebody waits for it."""
        return key in self._flights

    async def get(self, key: Key, make: Callable[[], Coroutine[Any, Any, Made]]) -> Made:
        """What `make` returns, or what it returns to those who asked before. Raises what it raises."""
        flight = self._flights.get(key)
        if flight is None or flight.task.done():  # done: those who waited have yet to take it up
            flight = self._flights[key] = _Flight(asyncio.get_running_loop().create_task(make()))
        flight.n_waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.n_waiting -= 1
            if not flight.n_waiting:
                flight.task.cancel()  # which one that is done does not mind
                if self._flights.get(key) is flight:
                    del self._flights[key]
