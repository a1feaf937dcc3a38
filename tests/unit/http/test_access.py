"""Which key may make which call: every route declares it, and the answers follow what it declares."""

import asyncio
import logging
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from typing import get_args

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from diptych.core.keys.key import SCOPES, Key, Scope, sha256_of_token
from diptych.core.keys.service import Keys
from diptych.core.services import Services
from diptych.http import endpoints
from diptych.http.access import PUBLIC, Access, Concern, GuardedRoute, access_table
from diptych.http.app import ROUTERS, create_app
from diptych.http.options import HttpOptions
from unit.core.keys.test_service import MemoryStore

VALUES = {"version": "1", "collection": "secret", "path": "icon.svg"}
ACCESS = access_table(route for router in ROUTERS for route in router.routes)
CALLS = [(method, path, access) for path, row in ACCESS.items() for method, access in row.items()]
IDS = [f"{method} {path}" for method, path, _ in CALLS]
SECRET = "s" * 43


def key_of(name: str, scope: Scope, collections: frozenset[str] | None = None) -> tuple[Key, dict[str, str]]:
    token = f"dpt_{name}_{SECRET}"
    key = Key(name, name, sha256_of_token(token), (scope,), datetime.now(UTC), collections)
    return key, {"Authorization": f"Bearer {token}"}


READER, WRITER, ADMIN = (key_of(f"{scope:x<8}", scope) for scope in SCOPES)
LIMITED = key_of("limited0", "write", frozenset({"pets"}))
STORE = MemoryStore(READER[0], WRITER[0], ADMIN[0], LIMITED[0])


async def load_for_ever() -> Services:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits that long")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = create_app(load_for_ever, accepted_keys=Keys(STORE))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def filled(path: str, **values: str) -> str:
    return re.sub(r"\{(\w+)(:path)?\}", lambda found: (VALUES | values).get(found[1], "a"), path)


def test_routers_of_all_endpoints_are_served() -> None:
    names = [one.name for one in pkgutil.walk_packages(endpoints.__path__, f"{endpoints.__name__}.")]
    routers = [vars(import_module(name)).get("router") for name in names]
    assert [one.routes[0] for one in routers if one is not None and one not in ROUTERS] == []


def test_route_that_declares_no_access_or_has_no_guard_keeps_the_server_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def handle() -> None:
        """Nothing."""

    with pytest.raises(LookupError, match="/unheard"):
        APIRouter(route_class=GuardedRoute).add_api_route("/unheard", handle)
    unguarded = APIRouter()
    unguarded.add_api_route("/unheard", handle)
    monkeypatch.setattr("diptych.http.app.ROUTERS", (*ROUTERS, unguarded))
    with pytest.raises(AssertionError, match="does not check keys"):
        create_app(load_for_ever)


@pytest.mark.parametrize(("method", "path", "access"), CALLS, ids=IDS)
def test_collection_of_a_path_is_checked(method: str, path: str, access: Access) -> None:
    assert (access.concern == "path") == ("{collection}" in path)
    assert access.concern in get_args(Concern)
    assert access.scope != "admin" or access.concern == "all"  # admin keys see all collections
    assert access.scope != "read" or method in {"GET", "POST"}
    assert (access.action != "") or access.scope != "admin" or method == "GET"  # is audited


@pytest.mark.parametrize(("method", "path", "access"), CALLS, ids=IDS)
def test_calls_without_a_valid_key_are_refused(
    client: TestClient, method: str, path: str, access: Access
) -> None:
    refused = [{}, {"Authorization": f"Bearer dpt_readxxxx_{'t' * 43}"}, {"X-API-Key": READER[0].sha256}]
    statuses = {client.request(method, filled(path), headers=headers).status_code for headers in refused}
    assert (statuses == {401}) == (access != PUBLIC), statuses
    if method == "GET":
        assert (client.head(filled(path)).status_code == 401) == (access != PUBLIC)


@pytest.mark.parametrize("held", [READER, WRITER, ADMIN], ids=lambda held: held[0].scopes[0])
@pytest.mark.parametrize(("method", "path", "access"), CALLS, ids=IDS)
def test_scope_is_needed(
    client: TestClient, method: str, path: str, access: Access, held: tuple[Key, dict[str, str]]
) -> None:
    answer = client.request(method, filled(path), headers=held[1])
    allowed = access.scope is None or SCOPES.index(held[0].scopes[0]) >= SCOPES.index(access.scope)
    assert (answer.status_code != 403) == allowed, answer.text
    assert answer.status_code != 401
    if not allowed:
        assert f"needs a key with scope '{access.scope}'" in answer.text


@pytest.mark.parametrize(("method", "path", "access"), CALLS, ids=IDS)
def test_limited_key_gets_no_answer_about_other_collections(
    client: TestClient, method: str, path: str, access: Access
) -> None:
    if access.concern == "path":
        others = [
            client.request(method, f"{filled(path, collection=name)}?bad=1", headers=LIMITED[1])
            for name in ("secret", "none")
        ]
        for answer, name in zip(others, ("secret", "none"), strict=True):
            assert answer.status_code == 404
            assert answer.json()["detail"] == f"no collection named '{name}'"
            assert answer.json()["type"] == "urn:diptych:error:not-found"
        own = client.request(method, filled(path, collection="pets"), headers=LIMITED[1])
        assert own.status_code == 503  # it gets through, and the server is loading
    elif access.concern == "all":
        answer = client.request(method, filled(path), headers=LIMITED[1])
        assert answer.status_code == 403, answer.text


@pytest.fixture(scope="module")
def read_only_client() -> Iterator[TestClient]:
    app = create_app(load_for_ever, HttpOptions(read_only=True), accepted_keys=Keys(STORE))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(("method", "path", "access"), CALLS, ids=IDS)
def test_read_only_server_refuses_every_change_and_nothing_else(
    read_only_client: TestClient, method: str, path: str, access: Access
) -> None:
    answer = read_only_client.request(method, filled(path), headers=ADMIN[1])
    changes = method != "GET" and access.scope in {"write", "admin"}
    assert (answer.status_code == 403) == changes, answer.text
    if changes:
        assert answer.json()["type"] == "urn:diptych:error:forbidden"
        assert "this server is read-only (--read-only or DIPTYCH_READ_ONLY)" in answer.json()["detail"]


def test_path_in_another_spelling_is_checked_too(client: TestClient) -> None:
    for path in ("/collections/%73ecret", "/collections/secret/../secret", "/collections/secret%2Fimages"):
        assert client.get(path, headers=LIMITED[1]).status_code == 404, path
    assert client.get("//collections/secret", headers=LIMITED[1]).status_code == 404
    assert client.get("/version%0A", headers=LIMITED[1]).status_code == 404
    assert client.get("/assets/../version").status_code in {401, 404}
    assert client.get("/assets/..%2fversion").status_code in {401, 404}


def test_unknown_paths_and_methods_need_a_key(client: TestClient) -> None:
    assert client.get("/nowhere").status_code == 401
    assert client.get("/nowhere", headers=READER[1]).status_code == 404
    assert client.put("/collections").status_code == 401
    assert client.put("/collections", headers=READER[1]).status_code == 405


def test_first_key_cannot_be_made_over_http() -> None:
    app = create_app(load_for_ever, accepted_keys=Keys(MemoryStore(exists=False)))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.post("/keys", json={"name": "mine", "scopes": ["admin"]})
        assert answer.status_code == 403
        assert "diptych keys create" in answer.json()["detail"]
        assert client.get("/keys").json() == {"keys": []}


@pytest.mark.parametrize(
    ("options", "path", "statuses"),
    [
        (HttpOptions(docs_access="public"), "/docs", (200, 200)),
        (HttpOptions(docs_access="key"), "/docs", (401, 200)),
        (HttpOptions(docs_access="key"), "/openapi.json", (401, 200)),
        (HttpOptions(docs_access="key"), "/assets/icon.svg", (200, 200)),
        (HttpOptions(docs_access="off"), "/docs", (401, 404)),
        (HttpOptions(docs_access="off"), "/openapi.json", (401, 404)),
        (HttpOptions(metrics_access="key"), "/metrics", (401, 503)),
        (HttpOptions(metrics_access="public"), "/metrics", (503, 503)),
        (HttpOptions(metrics_access="off"), "/metrics", (401, 404)),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_docs_and_metrics_are_for_those_that_the_settings_name(
    options: HttpOptions, path: str, statuses: tuple[int, int]
) -> None:
    app = create_app(load_for_ever, options, accepted_keys=Keys(STORE))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert (client.get(path).status_code, client.get(path, headers=READER[1]).status_code) == statuses
        assert client.head(path).status_code == statuses[0]


def audited(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [record.__dict__["fields"] for record in caplog.records if record.name == "diptych.audit"]


def test_administrative_calls_are_audited_with_their_caller_target_and_outcome(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "diptych.audit"):
        client.post("/models/mine/versions/3/activate", headers=ADMIN[1])
        client.post("/models/mine/versions", headers=WRITER[1])
        client.delete("/collections/secret", headers=LIMITED[1])
        client.get("/rollouts", headers=ADMIN[1])
        client.get("/collections", headers=READER[1])
        client.delete("/keys/abc")
    lines = audited(caplog)
    assert [(one["key_name"], one["action"], one["target"], one["status"]) for one in lines] == [
        ("adminxxx", "activate version", "mine/3", 503),
        ("writexxx", "push version", "mine", 403),
        ("limited0", "drop collection", "secret", 404),
    ]
    assert all({"client", "request_id", "key"} <= line.keys() for line in lines)
    assert SECRET not in str(lines)


def test_target_cannot_forge_a_line_of_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "diptych.audit"):
        client.delete(f"/keys/a%0A12:00 info {'x' * 500}", headers=ADMIN[1])
    (line,) = audited(caplog)
    assert "\n" not in str(line["target"])
    assert len(str(line["target"])) <= 200
