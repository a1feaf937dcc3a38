"""The blocking client: carries out the steps of each call with blocking input and output."""

from __future__ import annotations

import time
from collections.abc import Callable
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
    sent_chunks,
)

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(call: Callable[P, Steps[T]]) -> Callable[Concatenate[Client, P], T]:
    """Make a call a method of `Client`, with the same arguments, result and docstring."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(call(*args, **kwargs))

    return bound_like(call, method)


class Client:
    """A client of the diptych server at `url`. Threads may share it. Close it, or use it in a `with` block.

    Without `url` it takes DIPTYCH_URL, or else the address in DIPTYCH_HOST and DIPTYCH_PORT on this machine.
    `timeout_s` limits each wait for the network, not a whole call. `transport` is for tests: an
    `httpx.MockTransport` answers without a server. Raises InvalidCall for invalid arguments.

    >>> with Client("http://127.0.0.1:8000", api_key=None) as client:
    ...     hits = client.search("a sleeping cat", collection="pets", k=3).hits  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = default_url() if url is None else url
        self._http = httpx.Client(**client_options(self.url, api_key, timeout_s), transport=transport)

    embed = _blocking(calls.embed)
    classify = _blocking(calls.classify)
    classify_embeddings = _blocking(calls.classify_embeddings)
    classify_stored = _blocking(calls.classify_stored)
    search = _blocking(calls.search)
    add = _blocking(calls.add)
    add_vectors = _blocking(calls.add_vectors)

    collections = _blocking(calls.collections)
    create_collection = _blocking(calls.create_collection)
    collection = _blocking(calls.collection)
    change_collection = _blocking(calls.change_collection)
    drop_collection = _blocking(calls.drop_collection)
    list_images = _blocking(calls.list_images)
    fields = _blocking(calls.fields)
    duplicates = _blocking(calls.duplicates)
    get_image = _blocking(calls.get_image)
    original = _blocking(calls.original)
    thumbnail = _blocking(calls.thumbnail)
    find_images = _blocking(calls.find_images)
    patch_image = _blocking(calls.patch_image)
    delete_image = _blocking(calls.delete_image)
    delete_images = _blocking(calls.delete_images)

    add_tar = _blocking(calls.add_tar)
    jobs = _blocking(calls.jobs)
    job = _blocking(calls.job)
    cancel_job = _blocking(calls.cancel_job)
    job_outcomes = _blocking(calls.job_outcomes)
    follow_job = _blocking(calls.follow_job)

    models = _blocking(calls.models)
    model_version = _blocking(calls.model_version)
    model_card = _blocking(calls.model_card)
    model_card_file = _blocking(calls.model_card_file)
    push_model = _blocking(calls.push_model)
    activate = _blocking(calls.activate)
    rollouts = _blocking(calls.rollouts)
    rollout = _blocking(calls.rollout)
    wait_for_rollout = _blocking(calls.wait_for_rollout)
    cancel_rollout = _blocking(calls.cancel_rollout)
    rollout_status = _blocking(calls.rollout_status)
    compare_versions = _blocking(calls.compare_versions)
    keys = _blocking(calls.keys)
    create_key = _blocking(calls.create_key)
    revoke_key = _blocking(calls.revoke_key)
    version = _blocking(calls.version)
    ready = _blocking(calls.ready)

    def run(self, steps: Steps[T]) -> T:
        """Carry out the steps of one call and return its result."""
        steps = resumed(steps)
        try:
            effect = next(steps)
            while True:
                try:
                    result = self._carry_out(effect)
                except ClientError as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(result)
        except StopIteration as finished:
            value: T = finished.value
            return value

    def _carry_out(self, effect: Effect) -> Any:
        match effect:
            case Request():
                with httpx_errors_translated(self.url), opened_request(effect) as (arguments, stream):
                    if stream is not None:
                        arguments["content"] = sent_chunks(stream, effect.on_progress)
                    return read_answer(self._http.request(effect.method, effect.path, **arguments))
            case ReadFile():
                return read_file(effect.path, effect.max_bytes)
            case EncodePng():
                return encode_png(effect.image)
            case Sleep():
                return time.sleep(effect.seconds)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
