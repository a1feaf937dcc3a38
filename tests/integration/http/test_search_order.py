"""Hits in the order of a metadata field, on the tiny bundle."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.core.collections import search as core
from support.app import running_app
from support.calibrations import write_tiny_calibration
from support.image_requests import add_images, data_uri
from support.pictures import picture
from support.tiny_bundle import write_tiny_bundle

TAKEN = {
    "red": "2024-05-02T08:00:00",
    "green": "2024-05-01T23:00:00-08:00",
    "blue": None,
    "yellow": "2023-12-31",
    "copy": "2025-01-01",
}
NEWEST_FIRST = ["copy", "red", "green", "yellow", "blue"]
ORDER: dict[str, Any] = {"order_by": {"field": "taken", "direction": "desc"}}


def fill(client: TestClient) -> None:
    pictures = [picture("red" if id == "copy" else id) for id in TAKEN]
    captions = {"red": {"caption": "a poppy"}, "blue": {"caption": "no poppy"}}
    items = [
        {"id": id, "metadata": captions.get(id, {}) | ({"taken": at} if at else {})}
        for id, at in TAKEN.items()
    ]
    assert add_images(client, "/collections/default/images", *pictures, items=items).status_code == 200


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("order")
    write_tiny_bundle(folder / "model_repo")
    write_tiny_calibration(folder / "model_repo")
    with running_app(folder) as client:
        fill(client)
        yield client


def search(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/search", json={"query": {"text": "red"}} | body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in found["hits"]]


def test_hits_come_in_the_order_of_a_field_whatever_the_pages_are(client: TestClient) -> None:
    everything: dict[str, Any] = ORDER | {"min_relevance": 0}
    found = search(client, **everything)
    assert (ids(found), found["sorted_all"]) == (NEWEST_FIRST, True)
    pages = [ids(search(client, **everything, k=2, offset=offset)) for offset in (0, 2, 4)]
    assert pages == [NEWEST_FIRST[:2], NEWEST_FIRST[2:4], NEWEST_FIRST[4:]]
    assert search(client)["sorted_all"] is None


def test_only_hits_that_may_fit_are_sorted(client: TestClient) -> None:
    fitting = {hit["id"] for hit in search(client)["hits"] if hit["relevance"] >= 0.1}
    assert "red" in fitting
    assert len(fitting) < len(TAKEN)
    assert ids(search(client, **ORDER)) == [id for id in NEWEST_FIRST if id in fitting]
    assert ids(search(client, **ORDER, min_relevance=0.5)) == ["copy", "red"]


def test_all_forms_of_a_request_take_the_order(client: TestClient) -> None:
    flat = {"order_by": "taken", "direction": "desc", "min_relevance": "0"}
    by_query = client.get("/search", params={"q": "red"} | flat)
    fields = {"text": "red", **flat}
    by_form = client.post("/search", files=[(name, (None, value)) for name, value in fields.items()])
    assert [ids(by_query.json()), ids(by_form.json())] == [NEWEST_FIRST] * 2


def test_collapsed_hits_are_sorted_and_facets_count_the_best(client: TestClient) -> None:
    found = search(client, **ORDER, min_relevance=0, collapse="bytes", facets=["taken"], k=2)
    assert ids(found) == ["red", "green"]  # the newer copy was folded into the better hit
    assert [one["id"] for one in found["hits"][0]["duplicates"]] == ["copy"]
    assert found["facets"][0]["n_hits"] == 4


def test_hits_that_carry_the_words_are_sorted_with_those_that_fit(client: TestClient) -> None:
    assert ids(search(client, **ORDER, query={"text": "poppy"}, match="words")) == ["red", "blue"]
    both = search(client, **ORDER, query={"text": "poppy"}, match="both")
    assert {"red", "blue"} <= set(ids(both))
    assert ids(both) == [id for id in NEWEST_FIRST if id in ids(both)]


@pytest.mark.parametrize(("collapse", "limit"), [(None, "MAX_SORTED"), ("bytes", "MAX_FOLDED")])
def test_of_too_many_hits_the_best_are_sorted_which_the_answer_says(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, collapse: str | None, limit: str
) -> None:
    best = ids(search(client, k=3))
    monkeypatch.setattr(core, limit, 3)
    found = search(client, **ORDER, min_relevance=0, collapse=collapse)
    shown = {id for hit in found["hits"] for id in [hit["id"], *(one["id"] for one in hit["duplicates"])]}
    assert (shown, found["sorted_all"]) == (set(best), False)
    monkeypatch.setattr(core, limit, 5)
    assert search(client, **ORDER, min_relevance=0, collapse=collapse)["sorted_all"] is True


@pytest.mark.parametrize(
    ("body", "item"),
    [
        ({"order_by": {"field": "a..b"}}, "order_by.field"),
        ({"order_by": {"field": "a", "direction": "up"}}, "order_by.direction"),
        ({"order_by": "a"}, "order_by"),
        (ORDER | {"k": 10, "offset": 9_991}, "offset"),
        (ORDER | {"query": {"image": data_uri(picture("red"))}}, "order_by"),
    ],
)
def test_wrong_order_is_named(client: TestClient, body: dict[str, Any], item: str) -> None:
    refused = client.post("/search", json={"query": {"text": "red"}} | body)
    assert (refused.status_code, refused.json()["item"]) == (422, item)


def test_order_as_json_in_a_query_string_is_shown_the_right_form(client: TestClient) -> None:
    refused = client.get("/search", params={"q": "red", "order_by": '{"field": "a", "direction": "desc"}'})
    assert (refused.status_code, refused.json()["item"]) == (422, "order_by")
    assert "order_by=FIELD&direction=desc" in refused.json()["detail"]


def test_order_needs_a_relevance_unless_words_alone_find_hits(tmp_path: Path) -> None:
    with running_app(tmp_path) as client:
        fill(client)
        refused = client.get("/search", params={"q": "red", "order_by": "taken"})
        assert (refused.status_code, refused.json()["item"]) == (422, "order_by")
        assert "`diptych-train calibrate tiny/1`" in refused.json()["detail"]
        by_words = search(client, **ORDER, query={"text": "poppy"}, match="words")
        assert ids(by_words) == ["red", "blue"]
