"""Web pages of other origins: refused, unless their origin is in the list."""

import asyncio
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from diptych.core.keys.service import Keys
from diptych.core.services import Services
from diptych.http.app import create_app
from diptych.http.options import HttpOptions

APP, OTHER, KEY = "https://app.example", "https://evil.example", "correct horse"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


async def load_for_ever() -> Services:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits that long")


def client_of(options: HttpOptions) -> TestClient:
    app = create_app(load_for_ever, options, accepted_keys=Keys(api_key=KEY))
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(HttpOptions(cors_origins=(APP,))) as client:
        yield client


def from_page(origin: str, **more: str) -> dict[str, str]:
    return {"Origin": origin, "Sec-Fetch-Site": "cross-site", **more}


def test_preflight_of_a_listed_origin_is_answered_without_a_key(client: TestClient) -> None:
    answer = client.options("/embed", headers=from_page(APP) | PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers


def test_listed_origin_needs_a_key_and_may_read_every_answer(client: TestClient) -> None:
    refused = client.post("/embed", headers=from_page(APP))
    loading = client.post("/embed", headers=from_page(APP, Authorization=f"Bearer {KEY}"))
    assert (refused.status_code, loading.status_code) == (401, 503)
    for answer in (refused, loading):
        assert answer.headers["access-control-allow-origin"] == APP
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
        assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        "http://app.example",
        f"{APP}.evil.example",
        "null",
    ],
)
def test_other_origin_gets_nothing(client: TestClient, origin: str) -> None:
    key = f"Bearer {KEY}"
    preflight = client.options("/embed", headers=from_page(origin) | PREFLIGHT)
    assert preflight.status_code == 400
    write = client.post("/embed", headers=from_page(origin, Authorization=key))
    assert write.status_code == 403
    read = client.get("/version", headers=from_page(origin, Authorization=key))
    for answer in (preflight, write, read):
        assert "access-control-allow-origin" not in answer.headers


def test_without_a_list_no_origin_may_read() -> None:
    with client_of(HttpOptions()) as client:
        assert client.options("/embed", headers=from_page(APP) | PREFLIGHT).status_code == 401
        answer = client.get("/version", headers=from_page(APP, Authorization=f"Bearer {KEY}"))
        assert "access-control-allow-origin" not in answer.headers
