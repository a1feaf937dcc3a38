"""Which hosts and origins are ours."""

import pytest
from fastapi.testclient import TestClient

from diptych.core.services import Services
from diptych.http.app import create_app
from diptych.http.middleware.auth import same_origin
from diptych.http.options import HttpOptions


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
        ("LOCALHOST:8000", True),
        ("[::1]:8000", True),
        ("192.168.1.7:8000", True),
        ("diptych.example:443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_host_is_an_address_or_a_name_we_were_given(host: str, ours: bool) -> None:
    assert status(host, "diptych.example") == (200 if ours else 403)


def test_star_allows_every_host() -> None:
    assert status("anything.example", "*") == 200


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://a.example", "a.example", True),
        ("https://a.example", "a.example:443", True),
        ("http://a.example", "A.example:80", True),
        ("http://127.0.0.1:9000", "127.0.0.1:8000", False),
        ("http://evil.example", "127.0.0.1:8000", False),
        ("null", "127.0.0.1:8000", False),
        ("http://[", "127.0.0.1:8000", False),
        ("http://127.0.0.1:99999", "127.0.0.1", False),
    ],
)
def test_origin_must_have_our_host_and_port(origin: str, host: str, same: bool) -> None:
    assert same_origin(origin, host) is same
