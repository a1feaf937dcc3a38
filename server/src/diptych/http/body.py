"""Take a request's body in: counted while it streams, within a deadline. Knows nothing of what is in it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from diptych.errors import Malformed, TooLarge


@dataclass(frozen=True)
class BodyLimits:
    """How large a body may be and how long it may take to arrive."""

    max_bytes: int
    timeout_s: float


async def stream_body(request: Request, limits: BodyLimits, take: Callable[[bytes], object]) -> None:
    """Hand each chunk to `take`. TooLarge as soon as it is known; 408 when it is not there in time."""
    _check_declared(request, limits.max_bytes)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "compressed bodies are not read: their size is unknown until it is too late")
    n_bytes = 0
    try:
        async with asyncio.timeout(limits.timeout_s):
            async for chunk in request.stream():
                n_bytes += len(chunk)
                if n_bytes > limits.max_bytes:
                    raise TooLarge(f"body is over the limit of {limits.max_bytes} bytes")
                take(chunk)
    except TimeoutError:
        detail = f"body was not complete after {limits.timeout_s:g} s"
        raise HTTPException(408, detail, {"Connection": "close"}) from None


async def read_body(request: Request, limits: BodyLimits) -> bytearray:
    """The whole body; not copied into `bytes`, which would hold it twice."""
    body = bytearray()
    await stream_body(request, limits, body.extend)
    return body


def _check_declared(request: Request, max_bytes: int) -> None:
    declared = request.headers.get("content-length")
    if declared is None:
        return
    if not (declared.isascii() and declared.isdigit()):
        raise Malformed(f"Content-Length {declared[:40]!r} is not a number")
    if int(declared) > max_bytes:
        raise TooLarge(f"body has {declared} bytes, limit is {max_bytes}")
