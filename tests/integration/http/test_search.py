"""`/search` and collections as callers see them, on the tiny bundle."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.app import running_app
from support.image_requests import add_images, data_uri
from support.pictures import picture

RED_URI = data_uri(picture("red"))
COLOURS = ["red", "green", "blue", "yellow"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running_app(tmp_path_factory.mktemp("search"), max_k=12) as client:
        items = [{"id": colour, "metadata": {"warm": colour in {"red", "yellow"}}} for colour in COLOURS]
        pictures = [picture(colour) for colour in COLOURS]
        assert add_images(client, "/collections/default/images", *pictures, items=items).status_code == 200
        yield client


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def test_text_finds_its_image(client: TestClient) -> None:
    answer = client.get("/search", params={"q": "blue", "k": 2})
    assert ids(answer)[0] == "blue"
    hit = answer.json()["hits"][0]
    assert hit["cosine"] > 0.9
    assert client.get("/search", params={"q": "blue " * 50}).json()["truncated"] is True
    assert hit["relevance"] is None
    assert hit["links"]["thumbnail"] == "/collections/default/images/blue/thumbnail"
    assert client.get(hit["links"]["self"]).json()["metadata"] == {"warm": False}


@pytest.mark.parametrize(
    "query",
    [{"text": "red"}, {"image": RED_URI}, [{"text": "red", "weight": 2.0}]],
)
def test_text_image_and_list_are_equivalent_queries(client: TestClient, query: Any) -> None:
    assert ids(client.post("/search", json={"query": query, "k": 1})) == ["red"]


def test_stored_images_of_a_query_are_no_hits(client: TestClient) -> None:
    by_picture = ids(client.post("/search", json={"query": {"image": RED_URI}, "filter": {"warm": True}}))
    by_id = ids(client.post("/search", json={"query": {"id": "red"}, "filter": {"warm": True}}))
    assert (by_picture, by_id) == (["red", "yellow"], ["yellow"])
    query = [{"text": "green"}, {"id": "red"}, {"id": "blue", "weight": -0.5}]
    assert sorted(ids(client.post("/search", json={"query": query}))) == ["green", "yellow"]


def test_form_accepts_an_image_and_fields(client: TestClient) -> None:
    fields = [("k", (None, "3")), ("filter", (None, '{"warm": true}')), ("exact", (None, "true"))]
    answer = client.post("/search", files=[("image", ("x", picture("yellow"))), *fields])
    assert ids(answer) == ["yellow", "red"]


@pytest.fixture(scope="module")
def copies(client: TestClient) -> list[str]:
    """Images of the collection `copies`: each colour as four images, two of which have the same bytes."""
    assert client.post("/collections", json={"name": "copies"}).is_success
    made = [(f"{colour}-{n}", picture(colour, (8 + n // 2, 8))) for n in range(4) for colour in COLOURS]
    names = [{"id": id} for id, _ in made]
    answer = add_images(client, "/collections/copies/images", *(image for _, image in made), items=names)
    assert answer.status_code == 200
    return [id for id, _ in made]


@pytest.mark.parametrize(
    ("collapse", "duplicates"),
    [
        ("bytes", {"red-0": [("red-1", "bytes")], "red-2": [("red-3", "bytes")]}),
        ("picture", {"red-0": [("red-1", "bytes"), ("red-2", "picture"), ("red-3", "picture")]}),
        (0.999, {"red-0": [("red-1", "bytes"), ("red-2", "near"), ("red-3", "near")]}),
    ],
)
def test_duplicates_are_folded_into_the_best_hit(
    client: TestClient, copies: list[str], collapse: Any, duplicates: dict[str, Any]
) -> None:
    body = {"query": {"text": "red"}, "collection": "copies", "collapse": collapse}
    answer = client.post("/search", json=body | {"k": len(duplicates)})
    hits = answer.json()["hits"]
    found = {hit["id"]: [(one["id"], one["kind"]) for one in hit["duplicates"]] for hit in hits}
    assert found == duplicates
    by_words = client.get("/search", params={"q": "red", "collection": "copies", "collapse": collapse})
    assert ids(by_words)[: len(duplicates)] == list(duplicates)
    assert len(ids(by_words)) == len(COLOURS) * len(duplicates)
    rest = ids(client.post("/search", json=body | {"offset": 1}))
    assert rest == ids(by_words)[1:]


WARMTH = {"field": "warm", "n_hits": 4, "values": [{"value": True, "count": 2}, {"value": False, "count": 2}]}


def test_values_are_counted_among_as_many_hits_as_k_may_be_whatever_the_page(
    client: TestClient, copies: list[str]
) -> None:
    params = {"q": "red", "k": 1, "facets": ["warm", "no.such", "warm"]}
    by_words = client.get("/search", params=params).json()["facets"]
    assert by_words == [WARMTH, {"field": "no.such", "n_hits": 4, "values": []}]
    fields = [("text", (None, "red")), ("facets", (None, "warm")), ("facets", (None, "no.such"))]
    assert client.post("/search", files=fields).json()["facets"] == by_words
    body = {"query": {"text": "red"}, "collection": "copies", "k": 1, "facets": ["warm"]}
    for page in ({}, {"k": 12, "offset": 3}):
        assert len(copies) > client.post("/search", json=body | page).json()["facets"][0]["n_hits"] == 12


@pytest.mark.parametrize(
    ("body", "status", "item"),
    [
        ({"query": {"text": " "}}, 422, "query[0]"),
        ({"query": [1] * 33}, 413, "query"),
        ({"query": {"id": "nobody"}}, 404, "query[0]"),
        ({"query": {"text": "a"}, "collection": "nowhere"}, 404, None),
        ({"query": {"text": "a"}, "k": 13}, 422, "k"),
        ({"query": {"text": "a"}, "offset": 1_000_000}, 422, "offset"),
        ({"query": {"text": "a"}, "filter": {"warm": {"is": 1}}}, 422, "filter.warm.is"),
        ({"query": {"text": "a"}, "collapse": "byte"}, 422, "collapse"),
        ({"query": {"text": "a"}, "collapse": 0.9, "offset": 1_999}, 422, "offset"),
        ({"query": {"text": "a"}, "facets": ["warm", "a..b"]}, 422, "facets[1]"),
        ({"query": {"text": "a"}, "facets": ["a"] * 9}, 413, "facets"),
        ({"query": [{"text": "a"}, {"image": "data:;base64,eA=="}]}, 415, "query[1]"),
    ],
)
def test_invalid_query_is_named(
    client: TestClient, body: dict[str, Any], status: int, item: str | None
) -> None:
    answer = client.post("/search", json=body)
    assert (answer.status_code, answer.json().get("item")) == (status, item), answer.text


@pytest.mark.parametrize(
    ("params", "item"),
    [({}, "q"), ({"q": "a", "k": "x"}, "k"), ({"q": "a", "facets": "a."}, "facets[0]")],
)
def test_query_string_is_validated_as_strictly(client: TestClient, params: dict[str, Any], item: str) -> None:
    answer = client.get("/search", params=params)
    assert (answer.status_code, answer.json()["item"]) == (422, item)
