"""Limits on the size and the time of a body."""

import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from diptych.errors import Malformed, TooLarge
from diptych.http.options import BodyLimits
from diptych.http.parsing.body import read_body

LIMITS = BodyLimits(max_bytes=10, timeout_s=0.05)


def request_of(*messages: dict[str, object] | None, length: str | None = None) -> Request:
    """A request that receives the messages; None stands for silence."""
    waiting = list(messages)

    async def receive() -> dict[str, object]:
        message = waiting.pop(0)
        if message is None:
            await asyncio.sleep(60)
        assert message is not None
        return {"type": "http.request", **message}

    headers = [] if length is None else [(b"content-length", length.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def test_content_length_over_the_limit_is_rejected_unread() -> None:
    with pytest.raises(TooLarge, match="11 bytes, limit is 10"):
        asyncio.run(read_body(request_of(length="11"), LIMITS))


def test_body_without_content_length_is_counted() -> None:
    request = request_of({"body": b"123456", "more_body": True}, {"body": b"78901", "more_body": True})
    with pytest.raises(TooLarge):
        asyncio.run(read_body(request, LIMITS))


def test_body_of_exactly_the_limit_is_accepted() -> None:
    request = request_of({"body": b"12345", "more_body": True}, {"body": b"67890"})
    assert asyncio.run(read_body(request, LIMITS)) == b"1234567890"


def test_slow_body_is_a_408_long_before_the_timeout() -> None:
    limits = BodyLimits(max_bytes=10_000, timeout_s=60, min_bytes_per_s=1000, max_lag_s=0.1)

    async def trickle() -> dict[str, object]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"1", "more_body": True}

    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, trickle)
    with pytest.raises(HTTPException) as caught:
        asyncio.run(read_body(request, limits))
    assert caught.value.status_code == 408
    assert "bytes in 0.1" in caught.value.detail


def test_compressed_body_is_a_415() -> None:
    request = request_of({"body": b"x"})
    request.scope["headers"].append((b"content-encoding", b"gzip"))
    with pytest.raises(HTTPException) as caught:
        asyncio.run(read_body(request, LIMITS))
    assert caught.value.status_code == 415


def test_content_length_that_is_no_number_is_malformed() -> None:
    with pytest.raises(Malformed):
        asyncio.run(read_body(request_of(length="many"), LIMITS))
