"""Both clients have the same calls, and each call requests the right resource."""

import asyncio
import inspect
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any
from unittest.mock import create_autospec

import pytest

from diptych_client import AsyncClient, Client, InvalidCall, Rollout, Unreachable, operations
from diptych_client.operations import encoding
from diptych_client.transport import client_options
from support.fake_api import ACTIVE, ROLLOUT, FakeApi, body, embed_reply, ok, problem, search_reply
from support.image_host import write_certificate

OPERATIONS = [import_module(f"{operations.__name__}.{one.name}") for one in iter_modules(operations.__path__)]
SHARED_STEPS = {"added"}
RECORD = {
    "id": "a", "collection": "pets", "sha256": "0" * 64, "n_bytes": 3, "media_type": "image/png", "width": 2,
    "height": 1, "metadata": {"n": 1}, "created_at": "2026-01-01T00:00:00Z", "of_a_newer_server": 1,
}  # fmt: skip


def client_of(api: FakeApi) -> Client:
    return Client(transport=api.transport())


@pytest.mark.parametrize("module", OPERATIONS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_call_of_a_module_is_a_method_of_both_clients(module: ModuleType) -> None:
    steps = {
        name
        for name, one in inspect.getmembers(module, inspect.isfunction)
        if one.__module__ == module.__name__ and str(one.__annotations__["return"]).startswith("Steps[")
    }
    calls = {name for name in steps if name[0] != "_"} - SHARED_STEPS
    assert calls - vars(Client).keys() == calls - vars(AsyncClient).keys() == set()
    awaited = [name for name in calls if inspect.iscoroutinefunction(getattr(AsyncClient, name))]
    assert set(awaited) == calls


def test_mock_of_a_client_takes_the_arguments_of_its_calls() -> None:
    client = create_autospec(Client, instance=True)
    client.search("a cat", collection="pets")
    with pytest.raises(TypeError, match="colection"):
        client.search("a cat", colection="pets")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_method_shows_the_arguments_and_the_docstring_of_its_call(kind: type) -> None:
    signature = inspect.signature(kind.embed)  # type: ignore[attr-defined]
    assert list(signature.parameters) == ["self", "texts", "images", "on_progress"]
    assert signature.return_annotation == "Embeddings"
    assert kind.embed.__doc__ == encoding.embed.__doc__  # type: ignore[attr-defined]


def test_async_client_reads_files_and_gives_the_same_results(tmp_path: Any) -> None:
    (tmp_path / "a.png").write_bytes(b"pixels")
    api = FakeApi().on("POST /embed", embed_reply)

    async def embedded() -> Any:
        async with AsyncClient(transport=api.transport()) as client:
            return await client.embed(texts=["a"], images=[tmp_path / "a.png"])

    assert asyncio.run(embedded()) == client_of(api).embed(texts=["a"], images=[tmp_path / "a.png"])


def test_path_of_the_url_comes_before_every_route() -> None:
    api = FakeApi().on("GET /behind/proxy/collections", ok({"collections": []}))
    assert Client("http://host/behind/proxy/", transport=api.transport()).collections() == []


def test_listing_of_what_passes_a_filter_has_their_number() -> None:
    api = FakeApi().on("GET /collections/pets/images", ok({"images": [RECORD], "next": None, "total": 7}))
    assert client_of(api).list_images("pets", filter={"n": {"gte": 1}}).total == 7
    assert dict(api.requests[0].url.params) == {"limit": "100", "filter": '{"n": {"gte": 1}}'}
    with pytest.raises(InvalidCall, match="filter"):
        client_of(api).list_images("pets", filter={"n": float("nan")})


def test_waiting_for_a_rollout_tells_of_each_look_and_returns_the_end() -> None:
    api = FakeApi().on("GET /rollouts/r1", ok(ROLLOUT), ok(ACTIVE))
    seen: list[Rollout] = []
    ended = client_of(api).wait_for_rollout("r1", on_progress=seen.append)
    assert [one.state for one in seen] == ["embedding", "active"]
    assert (ended, ended.has_ended) == (seen[-1], True)


@pytest.mark.parametrize(
    ("expires_at", "told"),
    [
        (date(2030, 1, 1), r"expires_at must be a datetime .*, not datetime\.date\(2030, 1, 1\)"),
        (datetime(2030, 1, 1), r"expires_at 2030-01-01T00:00:00 has no time zone: .*tzinfo=UTC.*astimezone"),
    ],
)
def test_expiry_of_a_key_without_a_time_zone_is_refused_before_anything_is_sent(
    expires_at: Any, told: str
) -> None:
    api = FakeApi()
    with pytest.raises(InvalidCall, match=told):
        client_of(api).create_key("ci", expires_at=expires_at)
    assert api.requests == []


def test_search_by_meaning_names_nothing_that_older_servers_do_not_know() -> None:
    api = FakeApi().on("POST /search", search_reply())
    client = client_of(api)
    client.search("red")
    client.search("red", match="meaning")
    client.search("red", match="words")
    query = {"query": {"text": "red"}, "k": 10}
    assert [body(request) for request in api.requests] == [query, query, query | {"match": "words"}]


def test_token_of_a_new_key_is_hidden_from_repr() -> None:
    made = {"prefix": "abcdefgh", "name": "ci", "scopes": ["write"], "created_at": "2026-01-01T00:00:00Z"}
    api = FakeApi().on("POST /keys", ok(made | {"key": "dpt_abcdefgh_secret"}))
    created = client_of(api).create_key("ci", "write", expires_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert (created.key, "secret" in repr(created)) == ("dpt_abcdefgh_secret", False)
    assert body(api.requests[0])["expires_at"] == "2027-01-01T00:00:00+00:00"


@pytest.mark.parametrize("host", ["127.0.0.1", "diptych.example"])
def test_certificate_of_the_environment_is_trusted_on_this_machine_too(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, _ = write_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    trusted = client_options(f"https://{host}", None, 1.0)["verify"].get_ca_certs()
    assert [dict(name[0] for name in one["subject"])["commonName"] for one in trusted] == ["images.example"]
    assert client_options(f"http://{host}", None, 1.0)["verify"] is True


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_id_that_would_name_the_collection_deletes_nothing(id: str) -> None:
    api = FakeApi()
    with pytest.raises(InvalidCall):
        client_of(api).delete_image("pets", id)
    assert api.requests == []


def test_id_with_a_slash_stays_one_segment() -> None:
    api = FakeApi()
    with pytest.raises(Exception, match="404"):
        client_of(api).delete_image("pets", "../x?y")
    assert api.requests[0].url.raw_path == b"/collections/pets/images/..%2Fx%3Fy"


def test_unready_server_is_not_an_error() -> None:
    api = FakeApi().on("GET /readyz", problem(503, "the model is being loaded"), ok({"ready": True}))
    client = client_of(api)
    assert (client.ready().ready, client.ready().ready) == (False, True)


def test_proxy_of_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy, socket.create_server(("127.0.0.1", 0)) as here:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for url, asked in (
            (f"http://127.0.0.1:{here.getsockname()[1]}", here),
            ("http://server.example", proxy),
        ):
            with ThreadPoolExecutor(1) as pool, Client(url) as client:
                call = pool.submit(client.ready)
                asked.settimeout(10)
                asked.accept()[0].close()
                asked.close()
                with pytest.raises(Unreachable):
                    call.result()
