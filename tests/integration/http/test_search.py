"""`/search` and collections as callers see them, on the tiny bundle."""

from collections.abc import Iterator
from pathlib import Path
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
    with running_app(tmp_path_factory.mktemp("search"), max_k=50) as client:
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
    assert hit["relevance"] is None
    assert hit["links"]["thumbnail"] == "/collections/default/images/blue/thumbnail"
    assert client.get(hit["links"]["self"]).json()["metadata"] == {"warm": False}


@pytest.mark.parametrize(
    "query",
    [{"text": "red"}, {"image": RED_URI}, [{"text": "red", "weight": 2.0}]],
)
def test_text_image_and_list_are_equivalent_queries(client: TestClient, query: Any) -> None:
    assert ids(client.post("/search", json={"query": query, "k": 1})) == ["red"]


@pytest.mark.parametrize("options", [{}, {"filter": {"warm": True}}, {"k": 1}, {"offset": 1}])
def test_more_like_a_stored_image_are_the_hits_of_its_picture_without_it(
    client: TestClient, options: dict[str, Any]
) -> None:
    by_picture = {"query": {"image": RED_URI}, "filter": options.get("filter")}
    others = [id for id in ids(client.post("/search", json=by_picture)) if id != "red"]
    page = others[options.get("offset", 0) :][: options.get("k", 10)]
    assert ids(client.post("/search", json={"query": {"id": "red"}} | options)) == page


def test_stored_images_of_a_mix_are_no_hits(client: TestClient) -> None:
    query = [{"text": "green"}, {"id": "red"}, {"id": "blue", "weight": -0.5}]
    assert sorted(ids(client.post("/search", json={"query": query}))) == ["green", "yellow"]


def test_form_accepts_an_image_and_fields(client: TestClient) -> None:
    fields = [("k", (None, "3")), ("filter", (None, '{"warm": true}')), ("exact", (None, "true"))]
    answer = client.post("/search", files=[("image", ("x", picture("yellow"))), *fields])
    assert ids(answer) == ["yellow", "red"]


def test_negative_weight_searches_for_the_opposite(client: TestClient) -> None:
    query = [{"text": "red"}, {"text": "blue", "weight": -3.0}]
    assert ids(client.post("/search", json={"query": query}))[-1] == "blue"


def test_offset_continues_after_the_first_page(client: TestClient) -> None:
    whole = ids(client.get("/search", params={"q": "red"}))
    assert ids(client.get("/search", params={"q": "red", "k": 2, "offset": 2})) == whole[2:4]


@pytest.fixture(scope="module")
def copies(client: TestClient) -> list[str]:
    """Images of the collection `copies`: each colour as four images, two of which have the same bytes."""
    assert client.post("/collections", json={"name": "copies"}).is_success
    made = [(f"{colour}-{n}", picture(colour, (8 + n // 2, 8))) for n in range(4) for colour in COLOURS]
    names = [{"id": id} for id, _ in made]
    answer = add_images(client, "/collections/copies/images", *(image for _, image in made), items=names)
    assert answer.status_code == 200
    return [id for id, _ in made]


def test_pages_neither_repeat_nor_leave_out_images_of_equal_cosine(
    client: TestClient, copies: list[str]
) -> None:
    body = {"query": {"text": "red"}, "collection": "copies", "k": 3}
    pages = [ids(client.post("/search", json=body | {"offset": offset})) for offset in range(0, 18, 3)]
    whole = ids(client.post("/search", json=body | {"k": 50}))
    assert [id for page in pages for id in page] == whole
    assert sorted(whole) == sorted(copies)


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


def test_values_are_counted_among_all_hits_whatever_the_page(client: TestClient) -> None:
    answer = client.post("/search", json={"query": {"text": "red"}, "k": 1, "offset": 1, "facets": ["warm"]})
    assert answer.json()["facets"] == [WARMTH]
    assert ids(answer) == ids(client.get("/search", params={"q": "red", "k": 1, "offset": 1}))


def test_query_string_and_form_take_several_facets(client: TestClient) -> None:
    params = {"q": "red", "facets": ["warm", "no.such", "warm"]}
    by_words = client.get("/search", params=params).json()["facets"]
    assert by_words == [WARMTH, {"field": "no.such", "n_hits": 4, "values": []}]
    fields = [("text", (None, "red")), ("facets", (None, "warm")), ("facets", (None, "no.such"))]
    assert client.post("/search", files=fields).json()["facets"] == by_words


def test_filter_and_a_stored_image_as_query_narrow_what_is_counted(client: TestClient) -> None:
    body = {"query": {"id": "red"}, "filter": {"warm": True}, "facets": ["warm"]}
    (facet,) = client.post("/search", json=body).json()["facets"]
    assert (facet["n_hits"], facet["values"]) == (1, [{"value": True, "count": 1}])


def test_at_most_as_many_hits_are_counted_as_k_may_be(tmp_path: Path) -> None:
    with running_app(tmp_path, max_k=2) as client:
        add_images(client, "/collections/default/images", *map(picture, COLOURS))
        params = {"q": "red", "k": 2, "offset": 1, "facets": "warm"}
        answer = client.get("/search", params=params)
        assert (len(ids(answer)), answer.json()["facets"][0]["n_hits"]) == (2, 2)


def test_long_query_is_truncated_and_marked(client: TestClient) -> None:
    answer = client.get("/search", params={"q": "green " * 50})
    assert answer.json()["truncated"] is True


@pytest.mark.parametrize(
    ("body", "status", "item"),
    [
        ({"query": {"text": " "}}, 422, "query[0]"),
        ({"query": {"text": "a", "id": "b"}}, 422, "query[0]"),
        ({"query": []}, 422, "query"),
        ({"query": [1] * 33}, 413, "query"),
        ({"query": {"id": "nobody"}}, 404, "query[0]"),
        ({"query": [{"text": "a"}, {"id": "nobody"}]}, 404, "query[1]"),
        ({"query": {"text": "a"}, "collection": "nowhere"}, 404, None),
        ({"query": {"text": "a"}, "k": 51}, 422, "k"),
        ({"query": {"text": "a"}, "offset": 1_000_000}, 422, "offset"),
        ({"query": {"text": "a"}, "filter": {"warm": {"is": 1}}}, 422, "filter.warm.is"),
        ({"query": {"text": "a"}, "min_relevance": 0.5}, 422, "min_relevance"),
        ({"query": {"text": "a"}, "collapse": "byte"}, 422, "collapse"),
        ({"query": {"text": "a"}, "collapse": 1.5}, 422, "collapse"),
        ({"query": {"text": "a"}, "collapse": "0.9"}, 422, "collapse"),
        ({"query": {"text": "a"}, "collapse": 0.9, "offset": 1_999}, 422, "offset"),
        ({"query": {"text": "a"}, "facets": ["warm", "a..b"]}, 422, "facets[1]"),
        ({"query": {"text": "a"}, "facets": ["a"] * 9}, 413, "facets"),
        ({"query": {"text": "a"}, "facets": [1]}, 422, "facets[0]"),
        ({"query": {"text": "a"}, "facets": "warm"}, 422, "facets"),
        ({"query": [{"text": "a"}, {"text": "a", "weight": -1.0}]}, 422, "query"),
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
    [
        ({}, "q"),
        ({"q": ""}, "q"),
        ({"q": "a", "k": "x"}, "k"),
        ({"q": "a", "page": 2}, "page"),
        ({"q": "a", "facets": "a."}, "facets[0]"),
    ],
)
def test_query_string_is_validated_as_strictly(client: TestClient, params: dict[str, Any], item: str) -> None:
    answer = client.get("/search", params=params)
    assert (answer.status_code, answer.json()["item"]) == (422, item)
