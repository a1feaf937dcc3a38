"""Retry requests to servers that fail, and remember servers that cannot be reached."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from diptych_training.errors import DataError, NoSuchFile

MAX_UNREACHABLE = 10  # unreachable servers to wait for: a table may name thousands


RETRY_DELAYS_S = (1.0, 4.0, 15.0)  # before each retry
TRANSIENT_STATUSES = (408, 425, 429)  # client errors that a later attempt may not meet
Result = TypeVar("Result")


class UnreachableServers:
    """Servers that could not be reached, and those that answered, in this process."""

    def __init__(self) -> None:
        self._unreachable: set[str] = set()
        self._answering: set[str] = set()

    def has(self, server: str) -> bool:
        """True if waiting is pointless: the server was unreachable, or many were and it never answered."""
        return server in self._unreachable or (
            len(self._unreachable) >= MAX_UNREACHABLE and server not in self._answering
        )

    def note(self, server: str, *, answers: bool) -> None:
        """Record the outcome of the last attempt to reach a server."""
        now, other = (self._answering, self._unreachable) if answers else (self._unreachable, self._answering)
        now.add(server)
        other.discard(server)


def is_local(url: str) -> bool:
    """True for a plain path, which needs no retries."""
    return "://" not in url and "::" not in url


def retry(url: str, work: Callable[[], Result]) -> Result:
    """Return what `work` returns, retrying it if it fails.

    DataError naming the URL if the last attempt fails, or at once if a web server's answer is permanent.
    """
    return _attempts(url, work, _waits(url))


def retry_if_reachable(url: str, work: Callable[[], Result], unreachable: UnreachableServers) -> Result:
    """`retry` for one of many files; an unreachable server gets only one attempt per file."""
    if is_local(url):
        return retry(url, work)
    server = url.rpartition("://")[2].partition("/")[0]
    try:
        result = _attempts(url, work, (None,) if unreachable.has(server) else _waits(url))
    except DataError as error:
        unreachable.note(server, answers=not _is_unanswered(error))
        raise
    unreachable.note(server, answers=True)
    return result


def read_with_retries(
    url: str, read: Callable[[int, int], Iterator[Result]], start: int, step: int
) -> Iterator[Result]:
    """Yield from `read(start, step)`; after a failure, continue with the first missing item.

    The count of attempts restarts after each progress. DataError as in `retry`.
    """
    waits, reached = iter(_waits(url)), start
    while True:
        try:
            for one in read(start, step):
                yield one
                start += step
        except DataError:
            raise
        except Exception as error:  # each file system's client has errors of its own
            if start > reached:
                waits, reached = iter(_waits(url)), start
            _pause_or_raise(url, next(waits), error)
        else:
            return


def status_of(error: Exception) -> int | None:
    """The HTTP status of an error; None if there is none."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def reason_of(error: Exception) -> str:
    """A short reason for an error of a file system."""
    status = status_of(error)
    if status is not None:
        return f"the server answers {status} {getattr(error, 'message', '')}".rstrip()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{str(error) or type(error).__name__:.300}"


def _attempts(url: str, work: Callable[[], Result], waits: Iterable[float | None]) -> Result:
    for wait_s in waits:
        try:
            return work()
        except DataError:
            raise
        except Exception as error:  # as above
            _pause_or_raise(url, wait_s, error)
    raise AssertionError("the last attempt returns or raises")


def _is_unanswered(error: DataError) -> bool:
    """True if no server answered; False for an invalid URL."""
    cause = error.__cause__
    if isinstance(error, NoSuchFile) or not isinstance(cause, Exception):
        return False
    return status_of(cause) is None and not isinstance(cause, ValueError | ImportError)


def _waits(url: str) -> tuple[float | None, ...]:
    """Seconds to wait after each failure; None for the last."""
    return (None,) if is_local(url) else (*RETRY_DELAYS_S, None)


def _pause_or_raise(url: str, wait_s: float | None, error: Exception) -> None:
    if wait_s is None or _is_permanent(status_of(error)):
        raise DataError(f"{url}: cannot be read: {reason_of(error)}") from error
    time.sleep(wait_s)


def _is_permanent(status: int | None) -> bool:
    """True if a web server would answer the same again."""
    return status is not None and 400 <= status < 500 and status not in TRANSIENT_STATUSES
