"""Keys of a server with a model and data: what each sees, and what the calls about keys answer."""

import json
import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.http.access import access_table
from diptych.http.app import ROUTERS
from support.app import running_app
from support.image_requests import files_of
from support.pictures import noise
from support.tars import tar_of
from support.tiny_bundle import TINY

KEY = "correct horse"
ACCESS = access_table(route for router in ROUTERS for route in router.routes)
ROOT = {"Authorization": f"Bearer {KEY}"}
SECRET, OWN = "hushhush", "pets"
ENDS_WITHIN_S = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with running_app(folder, api_key=KEY, max_add_items=4, max_queue_items=256) as client:
        for name in (SECRET, OWN):
            assert client.post("/collections", json={"name": name}, headers=ROOT).status_code == 201
            items = json.dumps([{"id": f"{name}-id", "metadata": {"note": f"{name}-note"}}])
            files = [*files_of([noise(len(name))]), ("items", (None, items))]
            assert client.post(f"/collections/{name}/images", files=files, headers=ROOT).status_code == 200
        yield client


@pytest.fixture(scope="module")
def jobs(client: TestClient) -> dict[str, str]:
    """The id of an ended job of each collection."""
    return {name: ended_job(client, name) for name in (SECRET, OWN)}


def ended_job(client: TestClient, name: str) -> str:
    accepted = client.post(
        f"/collections/{name}/images",
        content=tar_of({f"{name}.png": noise(40 + len(name))}),
        headers=ROOT | {"content-type": "application/x-tar"},
    )
    assert accepted.status_code == 202, accepted.text
    deadline = time.monotonic() + ENDS_WITHIN_S
    while (job := client.get(accepted.headers["location"], headers=ROOT).json())["finished_at"] is None:
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return str(job["id"])


def created(client: TestClient, scope: str, *collections: str, **more: Any) -> tuple[str, dict[str, str]]:
    """The prefix of a new key, and the header that sends it."""
    body = {"name": f"{scope} key", "scopes": [scope], "collections": list(collections) or None, **more}
    answer = client.post("/keys", json=body, headers=ROOT)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["prefix"], {"X-API-Key": answer.json()["key"]}


def test_key_is_made_used_listed_and_revoked(client: TestClient, folder: Path) -> None:
    expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    prefix, headers = created(client, "read", OWN, expires_at=expires_at)
    assert client.get("/version", headers=headers).status_code == 200
    (row,) = [one for one in client.get("/keys", headers=ROOT).json()["keys"] if one["prefix"] == prefix]
    assert (row["name"], row["scopes"], row["collections"]) == ("read key", ["read"], [OWN])
    assert datetime.fromisoformat(row["expires_at"]) == datetime.fromisoformat(expires_at)
    assert row["last_used_at"] is not None
    assert "key" not in row
    assert headers["X-API-Key"][13:] not in (folder / "data" / "keys.json").read_text()
    assert client.delete(f"/keys/{prefix}", headers=ROOT).status_code == 204
    assert client.get("/version", headers=headers).status_code == 401
    gone = client.delete(f"/keys/{prefix}", headers=ROOT)
    assert (gone.status_code, gone.json()["detail"]) == (404, f"no API key with prefix '{prefix}'")


def test_made_and_revoked_keys_are_audited_without_their_tokens(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "diptych.audit"):
        prefix, headers = created(client, "read")
        client.delete(f"/keys/{prefix}", headers=ROOT)
    assert headers["X-API-Key"] not in caplog.text
    records = [record for record in caplog.records if record.name == "diptych.audit"]
    lines = [record.__dict__["fields"] for record in records if "fields" in record.__dict__]
    told = [(one["action"], one["target"], one["status"], one["key_name"]) for one in lines]
    assert told == [
        ("create key", f"{prefix} read key", 201, "DIPTYCH_API_KEY"),
        ("revoke key", prefix, 204, "DIPTYCH_API_KEY"),
    ]
    messages = [record.getMessage() for record in records]
    assert f"key {prefix} (read key) is accepted from now on" in messages
    assert f"key {prefix} (read key) is refused from now on" in messages


@pytest.mark.parametrize(
    ("scope", "collections", "scopes"),
    [("write", ["b", "a"], ["read", "write"]), ("admin", [], ["read", "write", "admin"])],
)
def test_caller_is_told_what_its_key_may_do(
    client: TestClient, scope: str, collections: list[str], scopes: list[str]
) -> None:
    _, headers = created(client, scope, *collections)
    told = client.get("/version", headers=headers).json()["caller"]
    assert told == {"key": f"{scope} key", "scopes": scopes, "collections": sorted(collections) or None}
    assert client.get("/version", headers=ROOT).json()["caller"]["key"] == "DIPTYCH_API_KEY"


def test_limited_key_lists_its_collections_and_jobs_only(client: TestClient, jobs: dict[str, str]) -> None:
    _, headers = created(client, "read", OWN)
    listed = client.get("/collections", headers=headers).json()
    assert [one["name"] for one in listed["collections"]] == [OWN]
    assert listed["database_bytes"] is None
    assert client.get("/collections", headers=ROOT).json()["database_bytes"] > 0
    assert [one["id"] for one in client.get("/jobs", headers=headers).json()["jobs"]] == [jobs[OWN]]
    for path in ("", "/outcomes", "/events"):
        assert client.get(f"/jobs/{jobs[OWN]}{path}", headers=headers).status_code == 200
        hidden = client.get(f"/jobs/{jobs[SECRET]}{path}", headers=headers)
        unknown = client.get(f"/jobs/{'0' * 32}{path}", headers=headers)
        assert hidden.status_code == unknown.status_code == 404
        assert hidden.json()["detail"] == f"no job '{jobs[SECRET]}'"
        assert unknown.json()["detail"] == f"no job '{'0' * 32}'"


def test_limited_key_sees_no_job_of_a_dropped_collection_whose_name_another_has(client: TestClient) -> None:
    name = "again"
    _, headers = created(client, "read", name)
    client.post("/collections", json={"name": name}, headers=ROOT)
    first = ended_job(client, name)
    client.delete(f"/collections/{name}", headers=ROOT)
    assert listed_jobs(client, headers) == [first]
    client.post("/collections", json={"name": name}, headers=ROOT)
    assert listed_jobs(client, headers) == []
    for path in ("", "/outcomes", "/events"):
        assert client.get(f"/jobs/{first}{path}", headers=headers).status_code == 404
        assert client.get(f"/jobs/{first}{path}", headers=ROOT).status_code == 200
    assert client.get(f"/jobs/{first}", headers=ROOT).json()["collection"] == f"{name} (dropped)"
    second = ended_job(client, name)
    assert listed_jobs(client, headers) == [second]
    assert {first, second} <= set(listed_jobs(client, ROOT))
    assert client.delete(f"/collections/{name}", headers=ROOT).status_code == 204


def listed_jobs(client: TestClient, headers: dict[str, str]) -> list[str]:
    return [one["id"] for one in client.get("/jobs", headers=headers).json()["jobs"]]


def test_limited_key_searches_its_collections_only(client: TestClient) -> None:
    _, headers = created(client, "read", OWN)
    found = client.get("/search", params={"q": "a", "collection": OWN}, headers=headers).json()
    assert found["hits"]
    starred = client.get("/search", params={"q": "a", "collections": "*"}, headers=headers).json()
    assert starred["collections"] == [OWN]
    params = {"q": "a", "collections": [OWN, SECRET]}
    assert client.get("/search", params=params, headers=headers).status_code == 404
    assert client.get("/search", params={"q": "a"}, headers=headers).status_code == 404  # the default one


def test_limited_key_names_only_its_collections(client: TestClient) -> None:
    _, headers = created(client, "write", OWN, "ours")
    for name in (SECRET, "nothing"):
        refused = client.post("/collections", json={"name": name}, headers=headers)
        renamed = client.patch(f"/collections/{OWN}", json={"name": name}, headers=headers)
        for answer in (refused, renamed):
            assert answer.status_code == 403
            assert f"limited to some collections, and '{name}' is none" in answer.json()["detail"]
    assert client.post("/collections", json={"name": "ours"}, headers=headers).status_code == 201
    assert client.patch("/collections/ours", json={"keep": "none"}, headers=headers).status_code == 200
    assert client.delete("/collections/ours", headers=headers).status_code == 204


def test_no_answer_to_a_limited_key_tells_of_another_collection(
    client: TestClient, folder: Path, jobs: dict[str, str]
) -> None:
    """Whatever the route: no name, id, metadata or job of it, and no path of the server."""
    _, headers = created(client, "write", "scratch")
    statuses = set()
    for path, row in ACCESS.items():
        for method in sorted(row):
            for collection in ("scratch", SECRET):
                client.post("/collections", json={"name": "scratch"}, headers=ROOT)
                url = filled(path, collection, jobs[SECRET])
                answer = client.request(method, url, headers=headers, json=body_of(path, collection))
                statuses.add(answer.status_code)
                told = answer.text
                for echo in (
                    f"no collection named '{SECRET}'",
                    f"no library named '{SECRET}'",
                    f"'{SECRET}' is none of them",
                    f"/{SECRET}",
                ):
                    told = told.replace(echo, "")  # what the caller sent
                told = told.replace(f"no job '{jobs[SECRET]}'", "")
                for kind in ("image", "label set named"):
                    told = told.replace(f"{kind} '{SECRET}-id'", "")
                assert SECRET not in told, f"{method} {url}: {answer.status_code} {told}"
                assert jobs[SECRET] not in told, f"{method} {url}: {answer.status_code} {told}"
                assert str(folder) not in answer.text, f"{method} {url}: {answer.text}"
    assert max(statuses) < 500
    assert client.get(f"/collections/{SECRET}", headers=ROOT).json()["n_images"] == 2


def test_collections_of_others_look_like_those_that_do_not_exist(client: TestClient) -> None:
    """Whatever the route, the method and the body: the same status, headers and text but for the name."""
    _, headers = created(client, "write", OWN)
    unknown = SECRET[:-1] + "z"
    for path, row in ACCESS.items():
        for method in sorted(row if "{collection}" in path else row.keys() - {"DELETE"}):
            pairs = zip(requests_about(SECRET, method), requests_about(unknown, method), strict=True)
            for about_secret, about_unknown in pairs:
                secret = answer_about(SECRET, client, method, path, headers, about_secret)
                assert secret == answer_about(unknown, client, method, path, headers, about_unknown)


def requests_about(collection: str, method: str) -> Iterator[dict[str, Any]]:
    """Query strings and bodies that name the collection, each of which some calls accept."""
    yield {"params": {"q": "a", "collection": collection}}
    if method in {"GET", "DELETE"}:
        return
    one = {"id": f"{SECRET}-id", "collection": collection}
    yield {"json": body_of("/collections/{collection}/lookups", collection)}
    yield {"json": body_of("/collections/{collection}/deletions", collection)}
    yield {"json": {"name": collection}}
    yield {"json": {"query": {"text": "a"}, "collections": [OWN, collection]}}
    yield {"json": {"query": one, "collection": OWN}}
    yield {"json": {"query": {"id": one["id"]}, "collection": collection}}
    yield {"json": {"images": [one], "labels": ["a"]}}
    yield {"files": files_of([noise(1)]), "data": {"collection": collection}}


def answer_about(
    collection: str, client: TestClient, method: str, path: str, key: dict[str, str], about: dict[str, Any]
) -> tuple[int, dict[str, str], str]:
    """The answer without the name of the collection, and without what differs from call to call."""
    answer = client.request(method, filled(path, collection, "0" * 32), headers=key, **about)
    varying = {"x-request-id", "server-timing", "content-length"}
    headers = {name: value for name, value in answer.headers.items() if name not in varying}
    text = re.sub(r'"(request_id|canary_age_s|unix)":[^,}]+', "", answer.text)
    return answer.status_code, headers, text.replace(collection, "")


def body_of(path: str, collection: str) -> dict[str, Any]:
    """A body that the call accepts, if it takes JSON."""
    bodies: dict[str, dict[str, Any]] = {
        "/search": {"query": {"id": f"{SECRET}-id"}, "collection": collection},
        "/classify": {"images": [{"id": f"{SECRET}-id", "collection": collection}], "labels": ["a"]},
        "/collections": {"name": collection},
        "/collections/{collection}": {"keep": "none"},
        "/collections/{collection}/lookups": {"ids": [f"{SECRET}-id"]},
        "/collections/{collection}/deletions": {"filter": {"note": f"{SECRET}-note"}},
        "/collections/{collection}/images/{id}": {"metadata": {}},
        "/embed": {"input": [{"text": "a"}]},
    }
    return bodies.get(path, {})


def filled(path: str, collection: str, job: str) -> str:
    """The path with its parameters."""
    values = {
        "collection": collection,
        "library": collection,
        "job": job,
        "version": "1",
        "path": "icon.svg",
        "name": TINY,
        "model": TINY,
        "file": "a.png",
    }
    return re.sub(r"\{(\w+)(:path)?\}", lambda found: values.get(found[1], f"{SECRET}-id"), path)
