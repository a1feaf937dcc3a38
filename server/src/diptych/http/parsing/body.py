"""Take a request's body in: counted while it streams, at a pace. Knows nothing of what is in it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from starlette.exceptions import HTTPException
from starlette.requests import Request

from diptych.errors import Malformed, TooLarge
from diptych.http.options import BodyLimits

MAX_DIGITS = 18  # of a length; Python refuses to read numbers of thousands


async def body_chunks(request: Request, limits: Callable[[], BodyLimits]) -> AsyncGenerator[bytes, None]:
    """The body as it comes, under the limits that hold by then: a long body may turn out to be allowed.

    TooLarge as soon as it is known; 408 when it is not there in time, where the time of who takes it counts.
    """
    now = limits()
    _check_declared(request, now.max_bytes)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "compressed bodies are not read: their size is unknown until it is too late")
    n_bytes, began = 0, asyncio.get_running_loop().time()
    async with aclosing(request.stream()) as stream:
        while True:
            try:
                async with asyncio.timeout_at(began + now.seconds_for(n_bytes)):
                    chunk = await anext(stream)
            except TimeoutError:
                detail = f"body was not complete: {n_bytes} bytes in {now.seconds_for(n_bytes):.3g} s"
                raise HTTPException(408, detail, {"Connection": "close"}) from None
            if not chunk:  # the end
                return
            n_bytes += len(chunk)
            if n_bytes > now.max_bytes:
                raise TooLarge(f"body is over the limit of {now.max_bytes} bytes")
            yield chunk
            now = limits()


async def read_body(request: Request, limits: BodyLimits) -> bytearray:
    """The whole body. Whoever makes `bytes` of it, as of an image, holds it twice for that moment."""
    body = bytearray()
    async for chunk in body_chunks(request, lambda: limits):
        body += chunk
    return body


def _check_declared(request: Request, max_bytes: int) -> None:
    """Malformed or TooLarge by what the body is said to have."""
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()):
        raise Malformed(f"Content-Length {declared[:40]!r} is not a number")
    if len(declared) > MAX_DIGITS or int(declared) > max_bytes:
        raise TooLarge(f"body has {declared[:MAX_DIGITS]} bytes, limit is {max_bytes}")
