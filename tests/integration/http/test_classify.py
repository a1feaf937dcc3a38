"""`/classify` as callers see it, on the tiny bundle."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.fixtures import client_fixture
from support.image_requests import data_uri
from support.pictures import picture

LABELS = ["red", "green", "blue"]


client = client_fixture(max_items=3, max_labels=5, max_predictions=8)


def form(*labels: str, colours: tuple[str, ...] = ("red",), **fields: str) -> list[tuple[str, Any]]:
    images = [("image", (f"{colour}.png", picture(colour))) for colour in colours]
    plain = [("labels", (None, label)) for label in labels]
    return [*images, *plain, *((name, (None, value)) for name, value in fields.items())]


def predictions(client: TestClient, parts: list[tuple[str, Any]]) -> list[list[dict[str, Any]]]:
    answer = client.post("/classify", files=parts)
    assert answer.status_code == 200, answer.text
    return [row["predictions"] for row in answer.json()["data"]]


def test_each_image_gets_its_own_label_best_first(client: TestClient) -> None:
    rows = predictions(client, form(*LABELS, colours=("blue", "red")))
    assert [row[0]["label"] for row in rows] == ["blue", "red"]
    for row in rows:
        assert sum(one["score"] for one in row) == pytest.approx(1)
        assert [one["score"] for one in row] == sorted((one["score"] for one in row), reverse=True)


def test_json_form_and_json_array_of_labels_agree(client: TestClient) -> None:
    uri = data_uri(picture("red"))
    by_json = client.post("/classify", json={"images": [uri], "labels": LABELS}).json()
    repeated = client.post("/classify", files=form(*LABELS)).json()
    one_array = client.post("/classify", files=form(json.dumps(LABELS))).json()
    assert by_json == repeated == one_array
    assert by_json["model"]["name"] == "tiny"


@pytest.mark.parametrize(
    ("labels", "items"),
    [(["red,blue"], ["labels[0]"]), (["red", "blue, or green"], []), (["red"], [])],
)
def test_single_label_with_commas_is_answered_as_one_with_a_warning(
    client: TestClient, labels: list[str], items: list[str]
) -> None:
    answer = client.post("/classify", files=form(*labels)).json()
    assert {one["label"] for one in answer["data"][0]["predictions"]} == set(labels)
    assert [warning["item"] for warning in answer["warnings"]] == items
    assert all("'red,blue' is one label" in warning["detail"] for warning in answer["warnings"])


def test_top_k_and_multi_label_are_read_from_a_form(client: TestClient) -> None:
    (row,) = predictions(client, form(*LABELS, top_k="1", multi_label="true", template="{}"))
    assert len(row) == 1
    assert row[0]["label"] == "red"
    assert 0.5 < row[0]["score"] <= 1


@pytest.mark.parametrize(
    ("parts", "status", "item"),
    [
        (form("red", "blue", "red"), 422, "labels[2]"),
        (form(), 422, "labels"),
        (form("[1]"), 422, "labels[0]"),
        (form('["red"'), 400, "labels"),
        (form("a", "b", "c", "d", "e", "f"), 413, "labels"),
        (form("red", colours=()), 422, "images"),
        (form("red", colours=("red",) * 4), 413, "images"),
        ([*form("red"), ("image", ("x", b"no image"))], 415, "images[1]"),
        (form("red", template="no place"), 422, "templates[0]"),
        (form("red", template="{}", templates="plain"), 422, "body"),
        (form("red", top_k="many"), 422, "top_k"),
        (form("red", lables="blue"), 422, "lables"),
        (form("a", "b", "c", colours=("red", "blue", "green")), 422, "top_k"),
    ],
)
def test_invalid_item_is_named(
    client: TestClient, parts: list[tuple[str, Any]], status: int, item: str
) -> None:
    answer = client.post("/classify", files=parts)
    assert (answer.status_code, answer.json().get("item")) == (status, item), answer.text


def test_named_template_sets_work_and_an_unknown_one_is_a_422(client: TestClient) -> None:
    for name in ("photos", "pictograms", "label", "plain"):
        ((first, *_),) = predictions(client, form(*LABELS, templates=name))
        assert first["label"] == "red"
    unknown = client.post("/classify", files=form("red", templates="absent"))
    assert (unknown.status_code, unknown.json()["item"]) == (422, "templates")
    assert "only default, plain, label, pictograms, photos" in unknown.json()["detail"]
