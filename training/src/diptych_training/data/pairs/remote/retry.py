"""Ask a server that fails again, a few times; knows nothing of what is asked for."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from diptych_training.errors import DataError, NoSuchFile

MAX_SILENT = 10  # servers that are waited for in vain: a table may name thousands that are gone


WAITS_S = (1.0, 4.0, 15.0)  # before each further attempt
PASSING = (408, 425, 429)  # of a web server's answers that blame who asks: it may answer otherwise later
Result = TypeVar("Result")


class Silent:
    """Servers that no attempt has reached, and those that answered, in this process."""

    def __init__(self) -> None:
        self._silent: set[str] = set()
        self._answering: set[str] = set()

    def has(self, server: str) -> bool:
        """Whether to wait is of no use: it was silent, or many were, and it has not answered yet."""
        return server in self._silent or (len(self._silent) >= MAX_SILENT and server not in self._answering)

    def note(self, server: str, *, answers: bool) -> None:
        """What became of the last attempt to reach a server."""
        now, other = (self._answering, self._silent) if answers else (self._silent, self._answering)
        now.add(server)
        other.discard(server)


def is_local(url: str) -> bool:
    """Whether it is a plain path: nobody has to be asked twice."""
    return "://" not in url and "::" not in url


def patiently(url: str, work: Callable[[], Result]) -> Result:
    """What `work` returns. DataError, naming the URL, when the last attempt fails too, or at once when a web
    server's answer is definite."""
    return _in_attempts(url, work, _waits(url))


def patiently_of_many(url: str, work: Callable[[], Result], silent: Silent) -> Result:
    """The same for one of many files, of servers that may be gone: one that no attempt has reached is asked
    once a file, until it answers."""
    if is_local(url):
        return patiently(url, work)
    server = url.rpartition("://")[2].partition("/")[0]
    try:
        result = _in_attempts(url, work, (None,) if silent.has(server) else _waits(url))
    except DataError as error:
        silent.note(server, answers=not _is_silence(error))
        raise
    silent.note(server, answers=True)
    return result


def read_patiently(
    url: str, read: Callable[[int, int], Iterator[Result]], start: int, step: int
) -> Iterator[Result]:
    """What `read(start, step)` gives; after a failure, `read` goes on at the first thing that is missing.
    Attempts count anew once there was a further thing. DataError as `patiently`."""
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
    """What a web server answered; None where it did not, or was not asked."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def reason_of(error: Exception) -> str:
    """An error of a file system in a few words."""
    status = status_of(error)
    if status is not None:
        return f"the server answers {status} {getattr(error, 'message', '')}".rstrip()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{str(error) or type(error).__name__:.300}"


def _in_attempts(url: str, work: Callable[[], Result], waits: Iterable[float | None]) -> Result:
    for wait_s in waits:
        try:
            return work()
        except DataError:
            raise
        except Exception as error:  # as above
            _pause_or_raise(url, wait_s, error)
    raise AssertionError("the last attempt returns or raises")


def _is_silence(error: DataError) -> bool:
    """Whether nobody answered; nobody is asked for a URL that is none."""
    cause = error.__cause__
    if isinstance(error, NoSuchFile) or not isinstance(cause, Exception):
        return False
    return status_of(cause) is None and not isinstance(cause, ValueError | ImportError)


def _waits(url: str) -> tuple[float | None, ...]:
    """Seconds to wait after each failure; None: it was the last."""
    return (None,) if is_local(url) else (*WAITS_S, None)


def _pause_or_raise(url: str, wait_s: float | None, error: Exception) -> None:
    if wait_s is None or _is_definite(status_of(error)):
        raise DataError(f"{url}: cannot be read: {reason_of(error)}") from error
    time.sleep(wait_s)


def _is_definite(status: int | None) -> bool:
    """Whether a web server would answer the same again."""
    return status is not None and 400 <= status < 500 and status not in PASSING
