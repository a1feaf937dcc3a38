"""Runs the parts of one task in the calling thread and in idle helper threads."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from diptych.bundle.image.resize import ALONE, Sharing


def sharing(n_threads: int) -> Sharing:
    """Helper threads for `bundle.image.resize`: `n_threads` in all, the calling thread included."""
    return Sharing(n_threads, SharedWork("resize", n_threads - 1).run) if n_threads > 1 else ALONE


class SharedWork:
    """The calling thread and up to `n_helpers` others, each of which takes the next part whenever it is free.

    A call does not wait for a helper that has not started: the running threads do its parts.
    """

    def __init__(self, name: str, n_helpers: int) -> None:
        self._n_helpers = n_helpers
        self._helpers = ThreadPoolExecutor(n_helpers, thread_name_prefix=name)

    def run(self, parts: Sequence[Callable[[], None]]) -> None:
        """Run every part, in any order. If one raises, raise that error once no part runs any more."""
        left = deque(parts)

        def work() -> None:
            while True:
                try:
                    part = left.popleft()
                except IndexError:
                    return
                try:
                    part()
                except BaseException:
                    left.clear()  # the other parts are not needed any more
                    raise

        helpers: list[Future[None]] = []
        try:
            for _ in range(min(self._n_helpers, len(parts) - 1)):
                with suppress(RuntimeError):  # no thread can be started: the running threads do its parts
                    helpers.append(self._helpers.submit(work))
            work()
        finally:
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)
        for helper in begun:
            helper.result()
