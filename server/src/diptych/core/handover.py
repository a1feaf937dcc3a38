"""Load something in a thread for one who may go away; knows nothing of what is loaded."""

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


async def loaded_in_thread(load: Callable[[], T], close: Callable[[T], object]) -> T:
    """What `load` makes, which may block; raises what it raises.

    One who is cancelled does not wait: what is there by then, or comes later, is closed, in a thread.
    """
    handover = _Handover(close)
    try:
        return await asyncio.to_thread(handover.load, load)
    except asyncio.CancelledError:
        for made in handover.abandon():
            asyncio.get_running_loop().run_in_executor(None, close, made)
        raise


class _Handover(Generic[T]):
    """It is closed once, by the second of those two: who makes it and who goes away."""

    def __init__(self, close: Callable[[T], object]) -> None:
        self._close = close
        self._lock = threading.Lock()
        self._made: list[T] = []
        self._is_abandoned = False

    def load(self, load: Callable[[], T]) -> T:
        made = load()
        with self._lock:
            if not self._is_abandoned:
                self._made.append(made)
                return made
        self._close(made)
        return made

    def abandon(self) -> list[T]:
        """What is there, which the caller has to close."""
        with self._lock:
            self._is_abandoned = True
            return self._made
