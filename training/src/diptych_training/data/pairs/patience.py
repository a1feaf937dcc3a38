"""Ask a server that fails again, a few times; knows nothing of what is asked for."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from diptych_training.errors import DataError

WAITS_S = (1.0, 4.0, 15.0)  # before each further attempt
Result = TypeVar("Result")


def is_local(url: str) -> bool:
    """Whether it is a plain path: nobody has to be asked twice."""
    return "://" not in url and "::" not in url


def patiently(url: str, work: Callable[[], Result]) -> Result:
    """What `work` returns. DataError, naming the URL, when the last attempt fails too."""
    for wait_s in _waits(url):
        try:
            return work()
        except DataError:
            raise
        except Exception as error:  # each file system's client has errors of its own
            _pause_or_raise(url, wait_s, error)
    raise AssertionError("the last attempt returns or raises")


def read_patiently(
    url: str, read: Callable[[int, int], Iterator[Result]], start: int, step: int
) -> Iterator[Result]:
    """What `read(start, step)` gives; after a failure, `read` goes on at the first thing that is missing."""
    for wait_s in _waits(url):
        try:
            for one in read(start, step):
                yield one
                start += step
        except DataError:
            raise
        except Exception as error:  # as above
            _pause_or_raise(url, wait_s, error)
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


def _waits(url: str) -> tuple[float | None, ...]:
    """Seconds to wait after each failure; None: it was the last."""
    return (None,) if is_local(url) else (*WAITS_S, None)


def _pause_or_raise(url: str, wait_s: float | None, error: Exception) -> None:
    if wait_s is None:
        raise DataError(f"{url}: cannot be read: {reason_of(error)}") from error
    time.sleep(wait_s)
