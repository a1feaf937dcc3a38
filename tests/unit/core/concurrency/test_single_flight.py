import asyncio
from typing import Any

import pytest

from diptych.core.concurrency.single_flight import SingleFlight


class Work:
    """Counts its beginnings and ends; `gate` lets it end."""

    def __init__(self) -> None:
        self.n_begun, self.n_cancelled = 0, 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.n_begun += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.n_begun


async def started(flights: SingleFlight[str, int], work: Work, n_callers: int) -> list["asyncio.Task[int]"]:
    """Callers who wait."""
    callers = [asyncio.create_task(flights.get("key", work)) for _ in range(n_callers)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert work.n_begun
    return callers


async def test_all_who_wait_get_what_is_made_once_and_later_ones_have_it_made_anew() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    callers = await started(flights, work, 3)
    assert "key" in flights
    work.gate.set()
    assert await asyncio.gather(*callers) == [1, 1, 1]
    assert "key" not in flights
    assert await flights.get("key", work) == 2


async def test_making_goes_on_for_others_when_the_first_caller_leaves_and_ends_with_the_last() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    first, second = await started(flights, work, 2)
    first.cancel()
    await asyncio.wait([first])
    assert (work.n_cancelled, second.done()) == (0, False)
    second.cancel()
    await asyncio.wait([second])
    work.gate.set()
    assert await flights.get("key", work) == 2, "one that is being ended is joined by nobody"
    assert work.n_cancelled == 1


async def test_caller_who_comes_as_a_making_ends_has_its_own() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work, late = Work(), list["asyncio.Task[int]"]()
    work.gate.set()

    async def fail() -> int:
        late.append(asyncio.create_task(flights.get("key", work)))  # before the first caller wakes up
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await flights.get("key", fail)
    assert await late[0] == 1
    assert "key" not in flights


async def test_error_reaches_all_who_wait_and_is_not_kept() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.error = ValueError("no")
    callers = await started(flights, work, 3)
    work.gate.set()
    outcomes: list[Any] = await asyncio.gather(*callers, return_exceptions=True)
    assert outcomes == [work.error] * 3
    work.error = None
    assert await flights.get("key", work) == 2
