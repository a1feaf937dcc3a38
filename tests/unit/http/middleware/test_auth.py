"""Which hosts and origins are ours."""

import asyncio

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from diptych.core.concurrency.fair_queue import current_tenant
from diptych.core.keys.key import new_key
from diptych.core.keys.service import Keys
from diptych.core.services import Services
from diptych.http.app import create_app
from diptych.http.middleware.auth import KeyMiddleware, same_origin
from diptych.http.options import HttpOptions
from diptych.http.state import ServerState
from unit.core.keys.test_service import MemoryStore


async def load() -> Services:
    raise AssertionError("the app is not started")


def status(host: str, allowed: str) -> int:
    app = create_app(load, HttpOptions(allowed_hosts=(allowed,)))
    return TestClient(app).get("/version", headers={"Host": host}).status_code


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("[::1]:8000", True),
        ("192.168.1.7:8000", True),
        ("diptych.example:443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("", False),
        ("[::1", False),
        ("evil@127.0.0.1", False),
        ("evil.example:x@localhost:8000", False),
        ("localhost?evil.example", False),
        ("[127.0.0.1]evil.example", False),
        ("[127.0.0.1]", False),
    ],
)
def test_host_is_an_address_or_a_name_we_were_given(host: str, ours: bool) -> None:
    assert status(host, "diptych.example") == (200 if ours else 403)


def test_star_allows_every_host() -> None:
    assert status("anything.example", "*") == 200
    assert status("evil@anything.example", "*") == 403


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://a.example", "a.example:443", True),
        ("http://a.example", "A.example:80", True),
        ("http://127.0.0.1:9000", "127.0.0.1:8000", False),
        ("null", "127.0.0.1:8000", False),
        ("http://[", "127.0.0.1:8000", False),
    ],
)
def test_origin_must_have_our_host_and_port(origin: str, host: str, same: bool) -> None:
    assert same_origin(origin, host) is same


def test_requests_of_a_key_are_one_tenant_and_those_without_one_another() -> None:
    key, token = new_key("shop", ["read"])
    seen = []

    async def note_tenant(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(current_tenant())

    async def ask(keys: Keys, token: str) -> None:
        scope = {"type": "http", "path": "/embed", "state": {}, "headers": [(b"x-api-key", token.encode())]}
        await KeyMiddleware(note_tenant, ServerState(HttpOptions(), keys=keys), [])(scope, receive, send)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    async def send(message: Message) -> None:
        raise AssertionError("nothing is refused")

    asyncio.run(ask(Keys(MemoryStore(key)), token))
    asyncio.run(ask(Keys(api_key="a key of tests"), "a key of tests"))
    asyncio.run(ask(Keys(), ""))
    assert (seen, current_tenant()) == ([key.prefix, "setting0", ""], "")
