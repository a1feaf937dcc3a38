"""Read a request body: check its size while it streams, and that it arrives fast enough."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from starlette.exceptions import HTTPException
from starlette.requests import Request

from diptych.errors import Malformed, TooLarge
from diptych.http.options import BodyLimits

MAX_DIGITS = 18  # of Content-Length; int() rejects numbers of thousands of digits


async def body_chunks(request: Request, limits: Callable[[], BodyLimits]) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of the body as they arrive.

    `limits` is called again after each chunk, as the reader may allow more once it knows what the body holds.
    Raises TooLarge as soon as the body is too long, and HTTPException 408 when it is late; the time that the
    reader spends on a chunk counts too.
    """
    current = limits()
    _check_content_length(request, current.max_bytes)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "compressed bodies are not supported: their size is not known in advance")
    n_bytes, began = 0, asyncio.get_running_loop().time()
    async with aclosing(request.stream()) as stream:
        while True:
            try:
                async with asyncio.timeout_at(began + current.deadline_s(n_bytes)):
                    chunk = await anext(stream)
            except TimeoutError:
                detail = f"body was not complete: {n_bytes} bytes in {current.deadline_s(n_bytes):.3g} s"
                raise HTTPException(408, detail, {"Connection": "close"}) from None
            if not chunk:
                return
            n_bytes += len(chunk)
            if n_bytes > current.max_bytes:
                raise TooLarge(f"body is over the limit of {current.max_bytes} bytes")
            yield chunk
            current = limits()


async def read_body(request: Request, limits: BodyLimits) -> bytearray:
    """Read the whole body. A bytearray, as a conversion to `bytes` holds the body twice for a moment."""
    body = bytearray()
    async for chunk in body_chunks(request, lambda: limits):
        body += chunk
    return body


def _check_content_length(request: Request, max_bytes: int) -> None:
    """Raises Malformed or TooLarge by the Content-Length header."""
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()):
        raise Malformed(f"Content-Length {declared[:40]!r} is not a number")
    if len(declared) > MAX_DIGITS or int(declared) > max_bytes:
        raise TooLarge(f"body has {declared[:MAX_DIGITS]} bytes, limit is {max_bytes}")
