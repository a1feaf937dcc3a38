"""Take a request's body in: counted while it streams, at a pace. Knows nothing of what is in it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from diptych.errors import Malformed, TooLarge

MAX_DIGITS = 18  # of a length; Python refuses to read numbers of thousands


@dataclass(frozen=True)
class BodyLimits:
    """How large a body may be and how long it may take to arrive: `timeout_s` at most.

    Before that, it must not fall behind `min_bytes_per_s` by more than `ahead_s` seconds.
    """

    max_bytes: int
    timeout_s: float
    min_bytes_per_s: float = 1000.0
    ahead_s: float = 10.0

    def seconds_for(self, n_bytes: int) -> float:
        """The time after which more than the first `n_bytes` must have come."""
        return min(self.timeout_s, self.ahead_s + n_bytes / self.min_bytes_per_s)


async def stream_body(
    request: Request,
    limits: Callable[[], BodyLimits],
    take: Callable[[bytes], Awaitable[None] | None],
) -> None:
    """Hand each chunk to `take`, under the limits that hold by then: a long body may turn out to be allowed.

    TooLarge as soon as it is known; 408 when it is not there in time, where the time in `take` counts too.
    """
    now = limits()
    declared = _declared(request, now.max_bytes)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "compressed bodies are not read: their size is unknown until it is too late")
    n_bytes, began = 0, asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(now.seconds_for(0)) as deadline:
            async for chunk in request.stream():
                if not chunk:  # the end
                    continue
                n_bytes += len(chunk)
                if n_bytes > now.max_bytes:
                    raise TooLarge(f"body is over the limit of {now.max_bytes} bytes")
                taken = take(chunk)
                if taken is not None:
                    await taken
                if n_bytes != declared:  # else nothing is waited for any more
                    now = limits()
                    deadline.reschedule(began + now.seconds_for(n_bytes))
    except TimeoutError:
        detail = f"body was not complete: {n_bytes} bytes in {now.seconds_for(n_bytes):.3g} s"
        raise HTTPException(408, detail, {"Connection": "close"}) from None


async def read_body(request: Request, limits: BodyLimits) -> bytearray:
    """The whole body. Whoever makes `bytes` of it, as of an image, holds it twice for that moment."""
    body = bytearray()
    await stream_body(request, lambda: limits, body.extend)
    return body


def _declared(request: Request, max_bytes: int) -> int | None:
    """The bytes that the body is said to have, within the limit; None where nothing is said."""
    declared = request.headers.get("content-length")
    if declared is None:
        return None
    if not (declared.isascii() and declared.isdigit()):
        raise Malformed(f"Content-Length {declared[:40]!r} is not a number")
    if len(declared) > MAX_DIGITS or int(declared) > max_bytes:
        raise TooLarge(f"body has {declared[:MAX_DIGITS]} bytes, limit is {max_bytes}")
    return int(declared)
