"""The blocking client: carries out the steps of each call with blocking input and output."""

from __future__ import annotations

import time
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
    sent_chunks,
)

T = TypeVar("T")


@with_own_methods
class Client(Calls):
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
