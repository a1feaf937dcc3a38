"""Behaviour of every route: loading, request ids, errors, methods, keys and hosts. No model is loaded."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import AsyncMock, MagicMock

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from diptych import errors
from diptych.core.keys.service import Keys
from diptych.core.services import Services
from diptych.http.app import create_app
from diptych.http.options import HttpOptions
from support.raw_http import read_response, run, serving

KEY = "correct horse"


async def load_for_ever() -> Services:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits that long")


def with_routes(app: FastAPI) -> FastAPI:
    async def fail(kind: str) -> None:
        raise getattr(errors, kind)("the message")

    async def crash() -> None:
        raise RuntimeError("secret detail")

    app.add_api_route("/fail/{kind}", fail)
    app.add_api_route("/crash", crash)
    app.add_api_route("/v1/fail/{kind}", fail)
    return app


@contextmanager
def client_of(options: HttpOptions | None = None, keys: Keys | None = None) -> Iterator[TestClient]:
    app = with_routes(create_app(load_for_ever, options, accepted_keys=keys))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of() as client:
        yield client


@pytest.fixture(scope="module")
def loaded_client() -> Iterator[TestClient]:
    """A client of an app whose services do nothing."""

    async def load() -> Services:
        return MagicMock(close=AsyncMock(), collections=MagicMock(catch_up=AsyncMock()))

    app = create_app(load)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        while app.state.diptych.services is None:
            client.get("/healthz")
        yield client


def test_alive_at_once_and_503_with_retry_after_while_loading(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    told = client.get("/version").json()
    assert told["model"] is None
    assert told["caller"] == {"key": None, "scopes": ["read", "write", "admin"], "collections": None}
    for path in ("/readyz", "/search?q=a", "/models", "/metrics"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["detail"] == "the model is being loaded"


def test_failed_load_is_reported_once_and_nothing_is_ready() -> None:
    failures: list[BaseException] = []

    async def load() -> Services:
        raise errors.CorruptBundle("weights differ")

    with TestClient(create_app(load, on_failure=failures.append), base_url="http://localhost") as client:
        assert client.get("/readyz").status_code == 503
    assert [str(failure) for failure in failures] == ["weights differ"]


def test_background_work_that_fails_is_logged_and_other_work_continues(
    caplog: pytest.LogCaptureFixture,
) -> None:
    services, steps, failures = MagicMock(close=AsyncMock()), list[str](), list[BaseException]()

    async def load() -> Services:
        return services

    async def fail(_: Services) -> None:
        raise OSError("disk full")

    async def refuse(_: Services) -> None:
        raise errors.Conflict("the collection belongs to another model")

    async def work(_: Services) -> None:
        try:
            steps.append("begun")
            await asyncio.sleep(3600)
        finally:
            steps.append("stopped")

    app = create_app(load, on_failure=failures.append, background=[fail, refuse, work])
    with caplog.at_level(logging.ERROR), TestClient(app, base_url="http://localhost") as client:
        while len(caplog.records) < 2 or not steps:
            client.get("/healthz")
    assert (failures, steps, services.close.await_count) == ([], ["begun", "stopped"], 1)
    failed, refused = caplog.records
    assert ("background work failed" in failed.getMessage(), failed.exc_info is None) == (True, False)
    assert ("another model" in refused.getMessage(), refused.exc_info) == (True, None)


def test_well_formed_request_id_is_kept_and_others_are_replaced(client: TestClient) -> None:
    assert (
        client.get("/healthz", headers={"X-Request-Id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    )
    for offered in ("a b", "x" * 65, "", "<script>"):
        made = client.get("/healthz", headers={"X-Request-Id": offered}).headers["x-request-id"]
        assert made != offered
        assert len(made) == 32


def test_unexpected_error_is_a_500_without_details_and_the_log_has_them(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "diptych.http"):
        answer = client.get("/crash", headers={"X-Request-Id": "find-me"})
    assert answer.status_code == 500
    assert answer.json()["request_id"] == "find-me"
    assert "secret" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "diptych.http"]
    assert record.exc_info is not None
    assert record.__dict__["fields"] == {"request_id": "find-me"}
    assert "secret detail" in str(record.exc_info[1])


@pytest.mark.parametrize(
    ("kind", "status", "title"),
    [
        ("Malformed", 400, "Malformed"),
        ("Conflict", 409, "Conflict"),
        ("Overloaded", 429, "Overloaded"),
        ("DataDirLocked", 503, "Data dir locked"),
        ("StoreUnavailable", 503, "Store unavailable"),
    ],
)
def test_diptych_errors_become_problems(client: TestClient, kind: str, status: int, title: str) -> None:
    answer = client.get(f"/fail/{kind}")
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["title"]) == (status, status, title)
    assert problem["detail"] == "the message"
    assert ("retry-after" in answer.headers) == (kind in {"Overloaded", "StoreUnavailable"})


def test_errors_under_v1_have_the_shape_of_openai(client: TestClient) -> None:
    answer = client.get("/v1/fail/NotFound")
    assert answer.json() == {
        "error": {
            "message": "the message",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        },
        "detail": "the message",
    }
    assert client.get("/v1/nowhere").json()["error"]["code"] == "not_found"


def test_unknown_path_is_a_404_and_trailing_slash_is_not_redirected(client: TestClient) -> None:
    for path in ("/nowhere", "/collections/", "/assets/../app.py", "/assets/%2e%2e/app.py", "/assets/js"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("method", "path", "name", "known"),
    [
        (
            "GET",
            "/collections/a/images?limt=5",
            "limt",
            "there is: after, direction, filter, limit, order_by",
        ),
        ("GET", "/collections/a/images/b/thumbnail?Size=64", "Size", "there is: size"),
        ("HEAD", "/collections?x", "", ""),
        ("DELETE", "/collections/a?dry_run=true", "dry_run", "this call takes none in its query string"),
        ("POST", "/collections/a/images?replce=true", "replce", "there is: replace"),
        (
            "GET",
            "/search?q=a&collction=pets",
            "collction",
            "there is: collapse, collection, collections, direction, exact, facets, filter, k, match, "
            "min_relevance, offset, order_by, q",
        ),
    ],
)
def test_unknown_parameter_is_named_with_the_known_ones(
    loaded_client: TestClient, method: str, path: str, name: str, known: str
) -> None:
    answer = loaded_client.request(method, path)
    assert answer.status_code == 422
    if method != "HEAD":
        assert answer.json()["item"] == name
        assert answer.json()["detail"] == f"{name}: unknown parameter, {known}"


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/search?q=red&q=car", "q: is given 2 times, and takes one value"),
        ("/jobs/j/outcomes?limit=5&limit=", "limit: is given 2 times, and takes one value"),
    ],
)
def test_parameter_with_one_value_is_refused_when_it_is_given_again(
    loaded_client: TestClient, path: str, detail: str
) -> None:
    answer = loaded_client.get(path)
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)


def test_access_log_has_the_route_template_and_nothing_private(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "diptych.access"):
        client.get("/search", params={"q": "private words"})
        client.get("/collections/private/images/name")
        client.get("/private")
        with client_of(keys=Keys(api_key=KEY)) as locked:
            assert locked.get("/collections/private").status_code == 401
    lines = [record.__dict__["fields"] for record in caplog.records if record.name == "diptych.access"]
    assert [line["route"] for line in lines] == [
        "/search",
        "/collections/{collection}/images/{id}",
        "unmatched",
        "/collections/{collection}",
    ]
    assert all({"method", "status", "total_ms", "request_id"} <= line.keys() for line in lines)
    assert "private" not in str(lines)


def test_key_is_accepted_in_either_header_and_probes_and_page_need_none() -> None:
    with client_of(keys=Keys(api_key=KEY)) as client:
        refused = client.get("/version")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        for wrong in ({"X-API-Key": "wrong"}, {"Authorization": f"Basic {KEY}"}, {"X-API-Key": "é"}):
            raw = {name: value.encode() for name, value in wrong.items()}
            assert client.get("/version", headers=raw).status_code == 401
        for right in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
            assert client.get("/version", headers=right).status_code == 200
        for path in ("/healthz", "/", "/docs", "/openapi.json", "/assets/icon.svg"):
            assert client.get(path).status_code == 200, path
        assert client.get("/v1/models").json()["error"]["type"] == "authentication_error"


def test_foreign_host_and_origin_are_rejected(client: TestClient) -> None:
    assert client.get("/version", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 200
    foreign = {"Origin": "http://evil.example"}
    assert client.post("/collections", json={"name": "a"}, headers=foreign).status_code == 403
    assert client.get("/version", headers=foreign).status_code == 200
    for site, status in (("cross-site", 403), ("same-origin", 503), ("none", 503)):
        headers = {"Sec-Fetch-Site": site}
        assert client.post("/embed", json={"input": [{"text": "a"}]}, headers=headers).status_code == status
        assert client.get("/version?utm=1&utm=2", headers=headers).status_code == 200
    own = {"Origin": "http://127.0.0.1"}
    assert client.post("/collections", json={"name": "a"}, headers=own).status_code == 503


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("HTTP/1.1\r\nHost: 127.0.0.1", 200),
        ("HTTP/1.1\r\nA: b", 400),
        ("HTTP/1.1\r\nHost: 127.0.0.1\r\nhost: evil.example", 400),
        ("HTTP/1.0\r\nA: b", 200),
    ],
)
def test_request_needs_exactly_one_host_header(head: str, status: int) -> None:
    async def scenario() -> None:
        async with serving(create_app(load_for_ever)) as handle:
            reader, _ = await handle.connect(f"GET /healthz {head}\r\n\r\n".encode())
            answer = await read_response(reader)
            assert answer.status == status
            if status == 400:
                assert answer.headers["content-type"] == "application/problem+json"
                assert "Host headers, it must have one" in answer.json()["detail"]

    run(scenario)


@pytest.mark.parametrize(("n_bytes", "status"), [(130_000, 200), (131_072, 431)])
def test_head_over_the_size_limit_is_a_431(n_bytes: int, status: int) -> None:
    async def scenario() -> None:
        async with serving(create_app(load_for_ever)) as handle:
            get = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            reader, _ = await handle.connect(get + b"A: " + b"a" * n_bytes + b"\r\n\r\n" + get + b"\r\n")
            assert (await read_response(reader)).status == status
            assert (await read_response(reader)).status == 200

    run(scenario)


def test_responses_forbid_use_by_other_origins(client: TestClient) -> None:
    for path in ("/healthz", "/", "/assets/icon.svg", "/crash", "/nowhere", "/search?q=a"):
        assert client.get(path).headers["cross-origin-resource-policy"] == "same-origin", path


def test_pages_forbid_frames_at_every_address(client: TestClient) -> None:
    for path in ("/", "/docs", "/assets/index.html", "/assets/docs.html"):
        answer = client.get(path)
        assert answer.headers["content-security-policy"] == "frame-ancestors 'none'", path
        etag = {"If-None-Match": answer.headers["etag"]}
        assert client.get(path, headers=etag).headers["content-security-policy"] == "frame-ancestors 'none'"


def test_page_and_its_files_are_compressed_for_browsers_that_take_it(client: TestClient) -> None:
    for path in ("/", "/assets/js/main.js", "/assets/css/base.css"):
        plain = client.get(path, headers={"Accept-Encoding": "identity"})
        packed = client.get(path, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in plain.headers
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert packed.content == plain.content
        assert packed.headers["content-type"] == plain.headers["content-type"]
        again = client.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]})
        assert again.status_code == 304


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/collections/a", "DELETE, GET, HEAD, PATCH"), ("OPTIONS", "/search", "GET, HEAD, POST")],
)
def test_405_lists_all_methods_of_the_path(
    loaded_client: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = loaded_client.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
