"""Clients that ask again as soon as they have their answer; knows no request."""

import asyncio
import contextlib

from benchmarks.soak.caller import Caller, Failed, Wrong
from benchmarks.soak.deck import TAKES_LONG, Deck, Turn
from benchmarks.soak.tally import Tally
from benchmarks.soak.vectors import fill_labels
from benchmarks.soak.world import World

DRAIN_S = 180.0
AFTER_FAILURE_S = 0.2  # a server that is gone must not be asked a thousand times a second
MOST_BESIDE = 12  # turns that take long, beside the clients


class Clients:
    """All clients, each with one turn at a time."""

    def __init__(self, port: int, world: World, tally: Tally, deck: Deck) -> None:
        self._port, self._world, self._tally, self._deck = port, world, tally, deck
        self._stopping = False
        self._beside: set[asyncio.Task[None]] = set()
        self._clients: list[asyncio.Task[None]] = []

    def start(self, n_clients: int) -> None:
        """They go on until `stop`."""
        self._clients = [asyncio.create_task(self._go_on()) for _ in range(n_clients)]

    async def stop(self) -> bool:
        """Let every client end its turn, and leave what takes long; whether all ended in time."""
        self._stopping = True
        for task in self._beside:
            task.cancel()
        _, pending = await asyncio.wait(self._clients, timeout=DRAIN_S)
        for task in pending:
            task.cancel()
        await asyncio.gather(*self._clients, *self._beside, return_exceptions=True)
        return not pending

    async def _go_on(self) -> None:
        caller = Caller(self._port, self._tally)
        try:
            while not self._stopping:
                turn = self._deck.deal()
                if turn not in TAKES_LONG:
                    await self._take(turn, caller)
                elif len(self._beside) < MOST_BESIDE:
                    self._take_beside(turn)
        finally:
            caller.close()

    def _take_beside(self, turn: Turn) -> None:
        task = asyncio.create_task(self._take(turn, Caller(self._port, self._tally)))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _take(self, turn: Turn, caller: Caller) -> None:
        try:
            await turn(caller, self._world)
        except Wrong as error:
            self._tally.wrong(str(error))
            await asyncio.sleep(AFTER_FAILURE_S)
        except Failed as error:
            self._tally.fail(str(error))
            await asyncio.sleep(AFTER_FAILURE_S)
        except Exception as error:  # an answer that cannot be read as it should
            name = getattr(turn, "__name__", repr(turn))
            self._tally.fail(f"{name}: {type(error).__name__}: {error}")
            await asyncio.sleep(AFTER_FAILURE_S)


async def fill(port: int, world: World, n_labels: int, n_clients: int) -> int:
    """Ask for so many labels that nobody has asked for, so that caches are as full as they get: how many."""
    asked = 0

    async def ask() -> None:
        nonlocal asked
        with contextlib.closing(Caller(port, Tally())) as caller:
            while asked < n_labels:
                n_asked = await fill_labels(caller, world)  # others count while this one waits
                asked += n_asked

    await asyncio.gather(*(ask() for _ in range(n_clients)))
    return asked
