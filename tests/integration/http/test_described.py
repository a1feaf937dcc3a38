"""Every error that a call answers stands in the description of the API, in its shape."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.app import running_app
from support.image_requests import add_images, files_of
from support.pictures import picture

KEY = "correct horse"
IMAGES, IMAGE = "/collections/{collection}/images", "/collections/{collection}/images/{id}"
NAMES = {"collection": "default", "id": "red", "name": "tiny", "version": "1"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("described")
    with running_app(
        folder, api_key=KEY, max_items=2, max_add_items=2, max_job_items=2, max_queue_items=2
    ) as client:
        client.headers["X-API-Key"] = KEY
        added = add_images(client, "/collections/default/images", picture("red"), items=[{"id": "red"}])
        assert added.status_code == 200
        yield client


@pytest.fixture(scope="module")
def described(client: TestClient) -> dict[str, Any]:
    """The calls by path and method, with the error responses that they refer to."""
    description = client.get("/openapi.json").json()
    paths: dict[str, Any] = description["paths"]
    for call in (call for calls in paths.values() for call in calls.values()):
        call["responses"] = {
            status: description["components"]["responses"][one["$ref"].rpartition("/")[2]]
            if "$ref" in one
            else one
            for status, one in call["responses"].items()
        }
    return paths


CASES: list[tuple[int, str, str, dict[str, Any]]] = [
    (400, "post", "/embed", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
    (413, "post", "/embed", {"json": {"input": [{"text": "a"}] * 3}}),
    (415, "post", "/embed", {"content": b"x", "headers": {"Content-Type": "video/mp4"}}),
    (422, "post", "/embed", {"json": {"input": []}}),
    (404, "get", "/search", {"params": {"q": "a", "collection": "none"}}),
    (422, "get", "/search", {}),
    (409, "post", "/collections", {"json": {"name": "default"}}),
    (409, "post", IMAGES, {"files": [*files_of([picture("blue")]), ("items", (None, '[{"id": "red"}]'))]}),
    (404, "get", IMAGE, {"id": "none"}),
    (404, "post", "/models/{name}/versions/{version}/activate", {"version": "9"}),
    (404, "post", "/v1/embeddings", {"json": {"model": "none", "input": "a"}}),
    (422, "post", "/hf/feature-extraction", {"json": {}}),
    (401, "get", "/v1/models", {"headers": {"X-API-Key": "wrong"}}),
    (403, "get", "/version", {"headers": {"Host": "evil.example"}}),
    (405, "put", "/models", {}),
]


@pytest.mark.parametrize(("status", "method", "path", "asked"), CASES)
def test_error_is_described_where_it_occurs(
    client: TestClient, described: dict[str, Any], status: int, method: str, path: str, asked: dict[str, Any]
) -> None:
    names = {name: asked.get(name, value) for name, value in NAMES.items()}
    options = {name: value for name, value in asked.items() if name not in NAMES}
    answer = client.request(method, path.format(**names), **options)
    assert answer.status_code == status, answer.text
    call = described[path].get(method) or next(iter(described[path].values()))
    response = call["responses"]["default" if status == 405 else str(status)]
    assert list(response["content"]) == [answer.headers["content-type"]]
    schema = response["content"][answer.headers["content-type"]]["schema"]["$ref"]
    shape = {"v1": "OpenAIError", "hf": "HuggingFaceError"}.get(path.split("/")[1], "Problem")
    assert schema.endswith(f"/{shape}")
    assert set(response.get("headers", {})) <= {name.title() for name in answer.headers} | {
        "WWW-Authenticate"
    }


def test_retry_after_is_described(described: dict[str, Any]) -> None:
    calls = [call for methods in described.values() for call in methods.values()]
    waits = [
        call["responses"][status]
        for call in calls
        for status in ("429", "503")
        if status in call["responses"]
    ]
    assert len(waits) > 20
    assert all("Retry-After" in response["headers"] for response in waits)


def test_key_is_a_security_scheme_that_probes_do_not_need(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    schemes = description["components"]["securitySchemes"]
    assert {(one["type"], one.get("scheme") or one["name"]) for one in schemes.values()} == {
        ("http", "bearer"),
        ("apiKey", "X-API-Key"),
    }
    assert {frozenset(one) for one in description["security"]} == {
        *(frozenset({n}) for n in schemes),
        frozenset(),
    }
    calls = {path: next(iter(methods.values())) for path, methods in description["paths"].items()}
    assert {path for path, call in calls.items() if call.get("security") == []} == {"/healthz", "/readyz"}
