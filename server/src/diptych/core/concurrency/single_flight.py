"""Compute a value once for all callers that ask for it at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


@dataclass(eq=False)
class _Flight(Generic[Result]):
    """One computation, and how many callers wait for it."""

    task: "asyncio.Task[Result]"
    n_waiting: int = 0


class SingleFlight(Generic[Key, Result]):
    """Callers that ask for a key while it is being computed share that computation. Used from one event loop.

    No caller owns it: a caller that is cancelled leaves it to the others, and the last one that leaves
    cancels it. All current waiters get its exception, later callers do not: nothing is kept here.
    """

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Result]] = {}

    def __contains__(self, key: Key) -> bool:
        """Whether the key is being computed."""
        return key in self._flights

    async def get(self, key: Key, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Return what `make` returns, or what it returns to an earlier caller. Raises what it raises."""
        flight = self._flights.get(key)
        if flight is None or flight.task.done():  # done: its waiters have not resumed yet
            flight = self._flights[key] = _Flight(asyncio.get_running_loop().create_task(make()))
        flight.n_waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.n_waiting -= 1
            if not flight.n_waiting:
                flight.task.cancel()  # has no effect on a task that is done
                if self._flights.get(key) is flight:
                    del self._flights[key]
