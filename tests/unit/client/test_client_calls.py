"""Both clients have the same calls, and each call requests the right resource."""

import asyncio
import inspect
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from diptych_client import AsyncClient, Client, InvalidCall, Unreachable, operations
from support.fake_api import PETS, FakeApi, body, embed_reply, ok, problem

RECORD = {
    "id": "a", "collection": "pets", "sha256": "0" * 64, "n_bytes": 3, "media_type": "image/png", "width": 2,
    "height": 1, "metadata": {"n": 1}, "created_at": "2026-01-01T00:00:00Z", "of_a_newer_server": 1,
}  # fmt: skip


def client_of(api: FakeApi) -> Client:
    return Client(transport=api.transport())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_every_call_is_a_method_of_both_clients(kind: type) -> None:
    assert [name for name in operations.__all__ if not callable(getattr(kind, name, None))] == []


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_method_shows_the_arguments_and_the_docstring_of_its_call(kind: type) -> None:
    signature = inspect.signature(kind.embed)  # type: ignore[attr-defined]
    assert list(signature.parameters) == ["self", "texts", "images", "on_progress"]
    assert signature.return_annotation == "Embeddings"
    assert kind.embed.__doc__ == operations.embed.__doc__  # type: ignore[attr-defined]


def test_async_client_reads_files_and_gives_the_same_results(tmp_path: Any) -> None:
    (tmp_path / "a.png").write_bytes(b"pixels")
    api = FakeApi().on("POST /embed", embed_reply)

    async def embedded() -> Any:
        async with AsyncClient(transport=api.transport()) as client:
            return await client.embed(texts=["a"], images=[tmp_path / "a.png"])

    assert asyncio.run(embedded()) == client_of(api).embed(texts=["a"], images=[tmp_path / "a.png"])


def test_api_key_is_sent_as_a_bearer_token() -> None:
    api = FakeApi().on("GET /collections", ok({"collections": [PETS]}))
    Client(api_key="sesame", transport=api.transport()).collections()
    assert api.requests[0].headers["authorization"] == "Bearer sesame"


def test_path_of_the_url_comes_before_every_route() -> None:
    api = FakeApi().on("GET /behind/proxy/collections", ok({"collections": []}))
    assert Client("http://host/behind/proxy/", transport=api.transport()).collections() == []


def test_collections_are_created_and_dropped() -> None:
    api = FakeApi().on("POST /collections", ok(PETS)).on("DELETE /collections/pets", httpx.Response(204))
    client = client_of(api)
    client.create_collection("pets")
    client.drop_collection("pets")
    assert body(api.requests[0]) == {"name": "pets", "keep": "original"}


def test_images_are_listed_by_page() -> None:
    api = FakeApi().on("GET /collections/pets/images", ok({"images": [RECORD], "next": "a"}))
    page = client_of(api).list_images("pets", after="9", limit=1)
    assert (page.images[0].id, page.next) == ("a", "a")
    assert dict(api.requests[0].url.params) == {"limit": "1", "after": "9"}


def test_listing_of_what_passes_a_filter_has_their_number() -> None:
    api = FakeApi().on("GET /collections/pets/images", ok({"images": [RECORD], "next": None, "total": 7}))
    assert client_of(api).list_images("pets", filter={"n": {"gte": 1}}).total == 7
    assert dict(api.requests[0].url.params) == {"limit": "100", "filter": '{"n": {"gte": 1}}'}
    with pytest.raises(InvalidCall, match="filter"):
        client_of(api).list_images("pets", filter={"n": float("nan")})


def test_one_image_is_patched_shown_and_deleted() -> None:
    path = "/collections/pets/images/a"
    api = FakeApi().on(f"PATCH {path}", ok(RECORD)).on(f"DELETE {path}", httpx.Response(204))
    api.on(f"GET {path}/original", httpx.Response(200, content=b"o"))
    api.on(f"GET {path}/thumbnail", httpx.Response(200, content=b"t"))
    client = client_of(api)
    client.patch_image("pets", "a", {"n": None})
    assert body(api.requests[0]) == {"metadata": {"n": None}}
    assert (client.original("pets", "a"), client.thumbnail("pets", "a")) == (b"o", b"t")
    client.delete_image("pets", "a")


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
