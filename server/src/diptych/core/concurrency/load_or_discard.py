"""Load something in a thread for a caller that may be cancelled."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def load_or_discard(load: Callable[[], T], close: Callable[[T], object]) -> T:
    """Return what `load` returns; `load` runs in a thread, may block, and its exceptions are raised here.

    A caller that is cancelled does not wait: a thread closes the result once it is there.
    """
    loading = asyncio.get_running_loop().run_in_executor(None, load)

    def close_unwanted(loaded: "asyncio.Future[T]") -> None:
        if not loaded.cancelled() and loaded.exception() is None:
            threading.Thread(target=close, args=(loaded.result(),), name="close-unwanted").start()

    try:
        return await asyncio.shield(loading)
    except asyncio.CancelledError:
        loading.add_done_callback(close_unwanted)
        raise
