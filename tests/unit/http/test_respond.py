"""Large responses are built in a thread, small ones on the event loop."""

import asyncio
import threading

import pytest
from pydantic import BaseModel
from starlette.requests import Request

from diptych.http.context import attach_context, context_of
from diptych.http.respond import MAX_VALUES_ON_LOOP, sized_json_response


class Content(BaseModel):
    """One value."""

    value: int


@pytest.mark.parametrize(
    ("n_values", "on_loop"), [(MAX_VALUES_ON_LOOP, True), (MAX_VALUES_ON_LOOP + 1, False)]
)
def test_large_response_is_built_off_the_loop_and_timed(n_values: int, on_loop: bool) -> None:
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": []})
    attach_context(request.scope, None)
    threads: list[threading.Thread] = []

    def make() -> Content:
        threads.append(threading.current_thread())
        return Content(value=3)

    response = asyncio.run(sized_json_response(request, n_values, make))
    assert (response.body, response.media_type) == (b'{"value":3}', "application/json")
    assert (threads == [threading.main_thread()]) is on_loop
    assert "serialise" in context_of(request).spans.seconds()
