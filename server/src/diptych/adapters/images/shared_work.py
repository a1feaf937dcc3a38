"""Do the parts of one piece of work with threads that have nothing else to do; knows nothing of the work."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from diptych.bundle.image.resize import ALONE, Sharing


def sharing(n_threads: int) -> Sharing:
    """For resizing: the thread that asks and the others, if there are any."""
    return Sharing(n_threads, SharedWork("resize", n_threads - 1).run) if n_threads > 1 else ALONE


class SharedWork:
    """The thread that asks and up to `n_helpers` others, each taking the next part whenever it is free.

    A helper that the machine does not get to is not waited for: whoever is free does its parts.
    """

    def __init__(self, name: str, n_helpers: int) -> None:
        self._n_helpers = n_helpers
        self._helpers = ThreadPoolExecutor(n_helpers, thread_name_prefix=name)

    def run(self, parts: Sequence[Callable[[], None]]) -> None:
        """Every part, in any order. Raises what one of them raised, once none runs any more."""
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
                    left.clear()  # nobody asks for the rest any more
                    raise

        helpers: list[Future[None]] = []
        try:
            for _ in range(min(self._n_helpers, len(parts) - 1)):
                with suppress(RuntimeError):  # no thread can be started: the others do its parts
                    helpers.append(self._helpers.submit(work))
            work()
        finally:
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)
        for helper in begun:
            helper.result()
