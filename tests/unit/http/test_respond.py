"""Making a large answer leaves the event loop free."""

import asyncio
import threading

from pydantic import BaseModel
from starlette.requests import Request

from diptych.http.context import attach_context, context_of
from diptych.http.respond import large_json_response


class Answer(BaseModel):
    """One value."""

    value: int


def test_large_answer_is_built_off_the_loop_and_timed() -> None:
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": []})
    attach_context(request.scope, None)
    threads: list[threading.Thread] = []

    def make() -> Answer:
        threads.append(threading.current_thread())
        return Answer(value=3)

    response = asyncio.run(large_json_response(request, make))
    assert (response.body, response.media_type) == (b'{"value":3}', "application/json")
    assert threads != [threading.main_thread()]
    assert "serialise" in context_of(request).stages
