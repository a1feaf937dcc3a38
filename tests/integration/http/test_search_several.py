"""A search of several collections at once, as callers see it, on the tiny bundle."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.app import running_app
from support.image_requests import add_images
from support.pictures import picture

COLOURS = ["red", "green", "blue", "yellow"]
HOMES = {"cats": ["red", "green", "blue"], "dogs": ["yellow", "red"], "fish": ["blue"]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Collections with some colours each, of which `red` and `blue` have the same bytes everywhere."""
    with running_app(tmp_path_factory.mktemp("search"), default_collection="cats") as client:
        for name, colours in HOMES.items():
            client.post("/collections", json={"name": name})
            items = [{"id": colour, "metadata": {"home": name, "colour": colour}} for colour in colours]
            answer = add_images(client, f"/collections/{name}/images", *map(picture, colours), items=items)
            assert answer.status_code == 200
        yield client


def search(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/search", json={"query": {"text": "red"}} | body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def places(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(hit["collection"], hit["id"]) for hit in found["hits"]]


def test_hits_of_all_collections_are_merged_by_cosine(client: TestClient) -> None:
    found = search(client, collections=["cats", "dogs"])
    alone = [search(client, collection=name)["hits"] for name in ("cats", "dogs")]
    assert found["hits"] == sorted([*alone[0], *alone[1]], key=lambda hit: -hit["cosine"])
    assert places(found)[:2] == [("cats", "red"), ("dogs", "red")]
    assert found["hits"][1]["links"]["self"] == "/collections/dogs/images/red"
    assert (found["collection"], found["collections"]) == (None, ["cats", "dogs"])


def test_query_string_and_form_take_several_collections(client: TestClient) -> None:
    whole = search(client, collections=["cats", "dogs"])
    params = {"q": "red", "collections": ["cats", "dogs"]}
    assert client.get("/search", params=params).json() == whole
    fields = [("text", (None, "red")), *(("collections", (None, name)) for name in ("cats", "dogs"))]
    assert client.post("/search", files=fields).json() == whole


def test_star_is_all_collections_and_their_pages_neither_repeat_nor_leave_out(client: TestClient) -> None:
    found = search(client, collections=["*"])
    assert found["collections"] == ["cats", "dogs", "fish"]
    whole = places(found)
    pages = [places(search(client, collections=["*"], k=2, offset=offset)) for offset in (0, 2, 4, 6)]
    assert [one for page in pages for one in page] == whole
    assert len(set(whole)) == 6


def test_filter_and_facets_hold_for_all_collections(client: TestClient) -> None:
    found = search(client, collections=["*"], filter={"colour": {"in": ["red", "blue"]}}, facets=["home"])
    assert {id for _, id in places(found)} == {"red", "blue"}
    assert found["facets"][0]["values"] == [
        {"value": "cats", "count": 2},
        {"value": "dogs", "count": 1},
        {"value": "fish", "count": 1},
    ]


def test_duplicates_in_another_collection_are_folded(client: TestClient) -> None:
    found = search(client, collections=["*"], collapse="bytes")
    assert sorted(id for _, id in places(found)) == sorted(COLOURS)
    (red,) = [hit for hit in found["hits"] if hit["id"] == "red"]
    assert (red["collection"], red["duplicates"]) == (
        "cats",
        [{"id": "red", "kind": "bytes", "collection": "dogs"}],
    )


def test_stored_image_is_left_out_of_its_own_collection_only(client: TestClient) -> None:
    found = search(client, collections=["*"], query={"id": "red", "collection": "dogs"})
    assert places(found)[0] == ("cats", "red")
    assert ("dogs", "red") not in places(found)
    assert len(found["hits"]) == 5


@pytest.mark.parametrize(
    ("body", "status", "item", "detail"),
    [
        ({"collections": ["cats", "nowhere"]}, 404, None, "no collection named 'nowhere'"),
        ({"collections": ["cats"], "collection": "dogs"}, 422, "collections", "not both"),
        ({"collections": ["cats"] * 33}, 413, "collections", "limit is 32"),
        ({"collections": ["*", "cats"]}, 422, "collections", "it stands alone"),
        ({"collections": ["*"], "query": {"id": "red"}}, 422, "query[0]", "an id needs its collection"),
        ({"query": {"id": "red", "collection": "dogs"}}, 422, "query[0]", "collection 'dogs' is not one of"),
    ],
)
def test_invalid_choice_of_collections_is_named(
    client: TestClient, body: dict[str, Any], status: int, item: str | None, detail: str
) -> None:
    answer = client.post("/search", json={"query": {"text": "red"}} | body)
    assert (answer.status_code, answer.json().get("item")) == (status, item), answer.text
    assert detail in answer.json()["detail"]
