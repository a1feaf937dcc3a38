"""What each client has: a connection, and the counting of what it asks. Knows no route."""

import asyncio
import time
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from benchmarks.soak.connection import Answer, Connection, NoAnswer
from benchmarks.soak.tally import Tally

MAX_TRIES = 10
MIN_COSINE = 0.99999
NO_ANSWER = "no answer"

Row = NDArray[np.float32]  # (D,)


class Failed(Exception):
    """A good request was not answered as it must be."""


class Wrong(Exception):
    """A hostile request was not answered as it must be."""


class Caller:
    """Asks, and counts. What is refused with 429 is asked again when the server says."""

    def __init__(self, port: int, tally: Tally) -> None:
        self.port = port
        self._tally = tally
        self._connection = Connection(port)

    async def good(self, kind: str, message: bytes, wanted: int = 200) -> Answer:
        """The answer, which has the wanted status. Raises Failed."""
        for _ in range(MAX_TRIES):
            answer = await self._good(kind, message)
            if answer.status != 429:
                break
            await asyncio.sleep(_retry_after_s(kind, answer))
        if answer.status != wanted:
            raise Failed(f"{kind}: {answer.words()}")
        return answer

    async def hostile(
        self,
        kind: str,
        name: str,
        *pieces: bytes,
        wanted: Collection[int],
        pause_s: float = 0.0,
        afresh: bool = False,
    ) -> Answer:
        """The answer, which has a wanted status. `afresh`: on a connection of its own. Raises Wrong."""
        connection = Connection(self.port) if afresh else self._connection
        try:
            answer = await self._hostile(connection, kind, name, pieces, pause_s)
        finally:
            if afresh:
                connection.close()
        if answer.status not in wanted:
            raise Wrong(f"{kind}: {name}: must be one of {sorted(wanted)}: {answer.words()}")
        return answer

    def gone(self, kind: str) -> None:
        """A hostile request that nobody waits for."""
        self._tally.hostile(kind, "gone")

    def compare(self, what: str, row: Row, alone: Row) -> None:
        """The vector of an item, and the one it had alone. Raises Failed when they differ."""
        cosine = float(row @ alone / np.sqrt((row @ row) * (alone @ alone)))
        self._tally.cosine(cosine)
        if not cosine >= MIN_COSINE:  # NaN too
            raise Failed(f"{what}: cosine {cosine} to its vector alone")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    async def _good(self, kind: str, message: bytes) -> Answer:
        began = time.perf_counter()
        try:
            answer = await self._connection.ask(message)
        except NoAnswer as error:
            self._tally.good(kind, NO_ANSWER, 1000 * (time.perf_counter() - began))
            raise Failed(f"{kind}: {error}") from error
        self._tally.good(kind, str(answer.status), 1000 * (time.perf_counter() - began))
        return answer

    async def _hostile(
        self, connection: Connection, kind: str, name: str, pieces: Collection[bytes], pause_s: float
    ) -> Answer:
        for _ in range(MAX_TRIES):
            try:
                answer = await connection.ask(*pieces, pause_s=pause_s)
            except NoAnswer as error:
                self._tally.hostile(kind, NO_ANSWER)
                raise Wrong(f"{kind}: {name}: {error}") from error
            self._tally.hostile(kind, str(answer.status))
            if answer.status != 429:
                break
            await asyncio.sleep(_retry_after_s(kind, answer))
        return answer


def _retry_after_s(kind: str, answer: Answer) -> float:
    try:
        return float(answer.headers["retry-after"])
    except (KeyError, ValueError):
        raise Failed(f"{kind}: 429 without a Retry-After: {answer.words()}") from None
