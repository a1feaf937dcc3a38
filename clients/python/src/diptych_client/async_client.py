"""The asyncio client: carries out the steps of each call without blocking the event loop."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from diptych_client.binding import with_own_methods
from diptych_client.errors import ClientError
from diptych_client.files import read_file
from diptych_client.operations import Calls
from diptych_client.pixels import encode_png
from diptych_client.steps import Effect, EncodePng, ReadFile, Request, Sleep, Steps, resumed
from diptych_client.transport import (
    DEFAULT_TIMEOUT_S,
    client_options,
    default_url,
    httpx_errors_translated,
    opened_request,
    read_answer,
    sent_chunks_async,
)

T = TypeVar("T")


@with_own_methods
class AsyncClient(Calls):
    """The calls of `Client` as coroutines. Close it with `aclose`, or use it in an `async with` block.

    The examples of the calls show `Client`: here each call is awaited.

    >>> async def search(words):
    ...     async with AsyncClient("http://127.0.0.1:8000") as client:
    ...         return await client.search(words, collection="pets", k=3)
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = default_url() if url is None else url
        self._http = httpx.AsyncClient(**client_options(self.url, api_key, timeout_s), transport=transport)

    async def run(self, steps: Steps[T]) -> T:
        """Carry out the steps of one call and return its result."""
        steps = resumed(steps)
        try:
            effect = next(steps)
            while True:
                try:
                    result = await self._carry_out(effect)
                except ClientError as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(result)
        except StopIteration as finished:
            value: T = finished.value
            return value

    async def _carry_out(self, effect: Effect) -> Any:
        match effect:
            case Request():
                with httpx_errors_translated(self.url), opened_request(effect) as (arguments, stream):
                    if stream is not None:
                        arguments["content"] = sent_chunks_async(stream, effect.on_progress)
                    return read_answer(await self._http.request(effect.method, effect.path, **arguments))
            case ReadFile():
                return await asyncio.to_thread(read_file, effect.path, effect.max_bytes)
            case EncodePng():
                return await asyncio.to_thread(encode_png, effect.image)
            case Sleep():
                return await asyncio.sleep(effect.seconds)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
