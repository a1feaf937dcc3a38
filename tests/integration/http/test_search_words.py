"""`match` of `/search` as callers see it: by words, by meaning and by both, on the tiny bundle."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.app import running_app
from support.calibrations import write_tiny_calibration
from support.image_requests import add_images, data_uri
from support.pictures import picture
from support.tiny_bundle import write_tiny_bundle

# What each picture shows, and what its metadata says of it: only "red" fits the text "red".
CAPTIONS = {"red": "a poppy", "green": "red lettuce", "blue": "Grandma's red sofa", "yellow": "a lemon"}


def fill(client: TestClient) -> None:
    items = [
        {"id": f"p{i}", "metadata": {"caption": caption, "place": {"city": "Rome"}, "n": i}}
        for i, caption in enumerate(CAPTIONS.values())
    ]
    pictures = [picture(colour) for colour in CAPTIONS]
    assert add_images(client, "/collections/default/images", *pictures, items=items).status_code == 200


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("words")
    write_tiny_bundle(folder / "model_repo")
    write_tiny_calibration(folder / "model_repo")
    with running_app(folder) as client:
        fill(client)
        yield client


def search(client: TestClient, text: str = "red", **body: Any) -> dict[str, Any]:
    answer = client.post("/search", json={"query": {"text": text}} | body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def hits(found: dict[str, Any]) -> dict[str, tuple[list[str], list[str]]]:
    return {hit["id"]: (hit["matched"], hit["matched_fields"]) for hit in found["hits"]}


@pytest.mark.parametrize("text", ['"red sofa"', "“red sofa”", "red sofa*", '"red sofa"*'])
def test_meaning_is_that_of_the_text_without_the_syntax_of_words(client: TestClient, text: str) -> None:
    meant = {hit["id"]: hit["cosine"] for hit in search(client, "red sofa")["hits"]}
    assert {hit["id"]: hit["cosine"] for hit in search(client, text, match="both")["hits"]} == meant
    assert {hit["id"]: hit["cosine"] for hit in search(client, text)["hits"]} != meant  # as it is


def test_words_find_the_images_that_carry_them(client: TestClient) -> None:
    found = search(client, match="words")
    assert hits(found) == {"p1": (["words"], ["caption"]), "p2": (["words"], ["caption"])}
    assert all(0 < hit["relevance"] < 0.2 and hit["cosine"] < 0.9 for hit in found["hits"])
    assert found["words_incomplete"] is False
    assert hits(search(client, '"red sofa"', match="words")) == {"p2": (["words"], ["caption"])}
    filtered = search(client, "ROM*", match="words", filter={"n": {"gte": 3}})
    assert hits(filtered) == {"p3": (["words"], ["place.city"])}


def test_both_put_words_and_what_fits_before_what_is_only_near(client: TestClient) -> None:
    found = hits(search(client, match="both"))
    assert list(found.items())[-1] == ("p3", ([], []))
    assert found["p0"] == (["meaning"], [])
    assert found.keys() - {"p0", "p3"} == {one for one, (by, _) in found.items() if "words" in by}
    partly = hits(search(client, "red sofa", match="both"))
    assert ("words" in partly["p1"][0], partly["p1"][1]) == (False, [])  # one of the words is not enough


def test_a_bound_never_hides_what_carries_the_words(client: TestClient) -> None:
    assert set(hits(search(client, match="both", min_relevance=0.5))) == {"p0", "p1", "p2"}
    assert set(hits(search(client, match="both", min_relevance=1))) == {"p1", "p2"}
    assert set(hits(search(client, match="words", min_relevance=1))) == {"p1", "p2"}


@pytest.mark.parametrize("options", [{}, {"min_relevance": 0.3}, {"filter": {"n": {"lt": 3}}}, {"k": 2}])
@pytest.mark.parametrize("text", ["greenish", "?!"])
def test_words_that_no_image_carries_change_nothing(
    client: TestClient, text: str, options: dict[str, Any]
) -> None:
    assert search(client, text, match="words", **options)["hits"] == []
    assert search(client, text, match="both", **options) == search(client, text, **options)


def test_pages_of_both_neither_repeat_nor_leave_out_an_image(client: TestClient) -> None:
    whole = list(hits(search(client, match="both")))
    assert sorted(whole) == ["p0", "p1", "p2", "p3"]
    for k in (1, 2, 3):
        pages = [hits(search(client, match="both", k=k, offset=start)) for start in range(0, 4, k)]
        assert [id for page in pages for id in page] == whole


def test_all_forms_of_a_request_take_match(client: TestClient) -> None:
    by_query = client.get("/search", params={"q": "red", "match": "words"})
    form = [("text", (None, "red")), ("match", (None, "words"))]
    by_form = client.post("/search", files=form)
    assert by_query.json() == by_form.json() == search(client, match="words")


def test_facets_and_duplicates_are_those_of_the_ranking(client: TestClient) -> None:
    (facet,) = search(client, match="words", facets=["caption"])["facets"]
    assert (facet["n_hits"], len(facet["values"])) == (2, 2)
    folded = search(client, match="words", collapse=0.0001, k=1)["hits"]
    assert len(folded) == 1


@pytest.mark.parametrize(
    ("body", "item"),
    [
        ({"query": {"id": "p0"}, "match": "both"}, "match"),
        ({"query": [{"text": "red"}, {"text": "sofa"}], "match": "both"}, "query[1]"),
        ({"query": [{"text": "red"}, {"id": "p0"}], "match": "words"}, "query[1]"),
        ({"query": {"text": "red"}, "match": "all"}, "match"),
    ],
)
def test_a_query_whose_words_are_unclear_is_a_422_that_names_it(
    client: TestClient, body: dict[str, Any], item: str
) -> None:
    answer = client.post("/search", json=body)
    assert (answer.status_code, item in answer.json()["detail"]) == (422, True), answer.text


def test_a_picture_beside_the_text_is_no_obstacle_to_both(client: TestClient) -> None:
    mixed = [{"text": "red"}, {"image": data_uri(picture("yellow"))}, {"id": "p2", "weight": -0.5}]
    answer = client.post("/search", json={"query": mixed, "match": "both"})
    assert answer.status_code == 200
    found = hits(answer.json())
    assert set(found) == {"p0", "p1", "p3"}  # an image of the query is no hit, by words neither
    assert "words" in found["p1"][0]
