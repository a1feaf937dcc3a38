"""Do the parts of one piece of work with threads that have nothing else to do; knows nothing of the work."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


class SharedWork:
    """The thread that asks and up to `n_helpers` others, each taking the next part whenever it is free.

    A helper that the machine does not get to is not waited for: whoever is free does its parts.
    """

    def __init__(self, name: str, n_helpers: int) -> None:
        self._n_helpers = n_helpers
        self._helpers = ThreadPoolExecutor(max(1, n_helpers), thread_name_prefix=name)

    def run(self, parts: Sequence[Callable[[], None]]) -> None:
        """Every part, in any order. Raises what one of them raised, once none runs any more."""
        left = deque(parts)

        def work() -> None:
            while True:
                try:
                    part = left.popleft()
                except IndexError:
                    return
                part()

        helpers = [self._helpers.submit(work) for _ in range(min(self._n_helpers, len(parts) - 1))]
        try:
            work()
        finally:
            errors = [helper.exception() for helper in helpers if not helper.cancel()]
        for error in errors:
            if error is not None:
                raise error
