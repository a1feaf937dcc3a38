"""The asyncio client: carries out the steps of each call without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from diptych_client import operations as calls
from diptych_client.binding import bound_like
from diptych_client.errors import ClientError
from diptych_client.files import read_file
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

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(call: Callable[P, Steps[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """Make a call a coroutine method of `AsyncClient`, with the same arguments, result and docstring."""

    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(call(*args, **kwargs))

    return bound_like(call, method)


class AsyncClient:
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

    embed = _awaited(calls.embed)
    classify = _awaited(calls.classify)
    classify_embeddings = _awaited(calls.classify_embeddings)
    classify_stored = _awaited(calls.classify_stored)
    search = _awaited(calls.search)
    add = _awaited(calls.add)
    add_vectors = _awaited(calls.add_vectors)

    collections = _awaited(calls.collections)
    create_collection = _awaited(calls.create_collection)
    collection = _awaited(calls.collection)
    change_collection = _awaited(calls.change_collection)
    drop_collection = _awaited(calls.drop_collection)
    list_images = _awaited(calls.list_images)
    fields = _awaited(calls.fields)
    duplicates = _awaited(calls.duplicates)
    get_image = _awaited(calls.get_image)
    original = _awaited(calls.original)
    thumbnail = _awaited(calls.thumbnail)
    find_images = _awaited(calls.find_images)
    patch_image = _awaited(calls.patch_image)
    delete_image = _awaited(calls.delete_image)
    delete_images = _awaited(calls.delete_images)

    add_tar = _awaited(calls.add_tar)
    jobs = _awaited(calls.jobs)
    job = _awaited(calls.job)
    cancel_job = _awaited(calls.cancel_job)
    job_outcomes = _awaited(calls.job_outcomes)
    follow_job = _awaited(calls.follow_job)

    models = _awaited(calls.models)
    model_version = _awaited(calls.model_version)
    model_card = _awaited(calls.model_card)
    model_card_file = _awaited(calls.model_card_file)
    push_model = _awaited(calls.push_model)
    activate = _awaited(calls.activate)
    rollouts = _awaited(calls.rollouts)
    rollout = _awaited(calls.rollout)
    wait_for_rollout = _awaited(calls.wait_for_rollout)
    cancel_rollout = _awaited(calls.cancel_rollout)
    rollout_status = _awaited(calls.rollout_status)
    compare_versions = _awaited(calls.compare_versions)
    keys = _awaited(calls.keys)
    create_key = _awaited(calls.create_key)
    revoke_key = _awaited(calls.revoke_key)
    version = _awaited(calls.version)
    ready = _awaited(calls.ready)

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
