"""Ready-made vectors as callers see them, on the tiny bundle."""

import base64
import hashlib
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from support.fixtures import client_fixture
from support.pictures import picture
from support.tiny_bundle import EMBED_DIM, TINY

PATH = "/collections/pets/vectors"


client = client_fixture(max_add_vectors=40)


@pytest.fixture(scope="module")
def model(client: TestClient) -> dict[str, Any]:
    """What the server says of the vectors that it makes."""
    made: dict[str, Any] = client.post("/embed", json={"input": [{"text": "red"}]}).json()["model"]
    return made


def unit_rows(n: int, seed: int = 0) -> Any:
    rows = np.random.default_rng(seed).standard_normal((n, EMBED_DIM)).astype("<f4")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def as_base64(row: Any) -> str:
    return base64.b64encode(np.asarray(row, "<f4").tobytes()).decode()


def send_form(client: TestClient, model: Any, rows: bytes, items: Any = None, **params: Any) -> Any:
    form: list[tuple[str, Any]] = [
        ("model", (None, json.dumps(model))),
        ("embeddings", ("rows", rows)),
    ]
    if items is not None:
        form.append(("items", (None, json.dumps(items))))
    return client.post(PATH, files=form, params=params)


def statuses(answer: Any) -> list[str]:
    return [outcome["status"] for outcome in answer.json()["outcomes"]]


def test_rows_in_every_form_are_found_by_their_own_vector(
    client: TestClient, collection_path: str, model: dict[str, Any]
) -> None:
    rows = unit_rows(3)
    numbers = [{"id": "numbers", "embedding": rows[0].tolist(), "metadata": {"n": 1}}]
    assert statuses(client.post(PATH, json={"model": model, "items": numbers})) == ["created"]
    text, short = [{"id": "text", "embedding": as_base64(rows[1])}], {"name": TINY, "version": 1}
    assert statuses(client.post(PATH, json={"model": short, "items": text})) == ["created"]
    refused = client.post(PATH, json={"model": {"name": TINY}, "items": text})
    assert (refused.status_code, refused.json()["item"]) == (422, "model.version")
    raw = send_form(client, model, rows[2:].tobytes(), [{"id": "raw", "metadata": {"n": 3}}])
    assert statuses(raw) == ["created"]
    for id, row in zip(("numbers", "text", "raw"), rows, strict=True):
        twin = [{"id": "twin", "embedding": row.tolist()}]
        assert client.post(PATH, json={"model": model, "items": twin}, params={"replace": True}).is_success
        query = {"query": {"id": "twin"}, "collection": "pets", "k": 1}
        hits = client.post("/search", json=query).json()["hits"]
        assert (hits[0]["id"], hits[0]["cosine"]) == (id, pytest.approx(1, abs=1e-6))
    assert client.get(f"{collection_path}/images/raw").json()["metadata"] == {"n": 3}


@pytest.mark.parametrize("change", [{"version": 2}, {"precision": "int8"}])
def test_vectors_of_another_origin_are_a_409_that_names_both(
    client: TestClient, collection_path: str, model: dict[str, Any], change: dict[str, Any]
) -> None:
    other = model | change
    wide = [{"embedding": [1.0] * (EMBED_DIM + 1)}]  # of another width as well: the origin is looked at first
    for answer in (
        client.post(PATH, json={"model": other, "items": wide}),
        send_form(client, other, b"123"),
    ):
        assert answer.status_code == 409
        assert f"{other['name']}/{other['version']}" in answer.json()["detail"]
        assert f"{model['name']}/{model['version']}" in answer.json()["detail"]
    assert client.get(collection_path).json()["n_images"] == 0


def test_bad_vector_fails_alone_with_a_reason(
    client: TestClient, collection_path: str, model: dict[str, Any]
) -> None:
    good = unit_rows(1)[0]
    bad = [good * 1.01, np.zeros(EMBED_DIM), np.full(EMBED_DIM, np.nan), np.full(EMBED_DIM, 1e30), good[:-1]]
    items = [{"embedding": as_base64(row)} for row in [*bad, good]] + [
        {"embedding": as_base64(good), "id": "a/b"},
        {"embedding": [1e300] * EMBED_DIM},
    ]
    outcomes = client.post(PATH, json={"model": model, "items": items}).json()["outcomes"]
    assert [outcome["status"] for outcome in outcomes] == ["failed"] * 5 + ["created"] + ["failed"] * 2
    told = [outcome["error"]["detail"] for outcome in outcomes if outcome["error"]]
    assert told[0] == "embedding: has norm 1.01, it must be 1 within 0.001"
    assert "norm 0" in told[1]
    assert all("not finite" in one for one in (told[2], told[6]))
    assert "norm 4e+30" in told[3]
    assert told[4] == f"embedding: has {EMBED_DIM - 1} numbers, vectors of this model have {EMBED_DIM}"
    assert told[5].startswith("id: ")
    alone = client.post(PATH, json={"model": model, "items": [{"embedding": [2.0] * EMBED_DIM}]})
    assert (alone.status_code, alone.json()["item"]) == (422, "items[0].embedding")


def test_id_and_bytes_decide_as_for_images(
    client: TestClient, collection_path: str, model: dict[str, Any]
) -> None:
    one, two = unit_rows(2)
    nameless = send_form(client, model, one.tobytes()).json()["outcomes"][0]
    assert nameless["id"] == hashlib.sha256(one.tobytes()).hexdigest()[:32]
    for row in (one, two):
        answer = send_form(client, model, row.tobytes(), [{"id": "x"}])
    assert answer.status_code == 409
    assert statuses(send_form(client, model, two.tobytes(), [{"id": "x"}], replace="true")) == ["replaced"]
    client.post(
        f"{collection_path}/images",
        files=[("image", ("x", picture("red"))), ("items", (None, '[{"id":"p"}]'))],
    )
    assert send_form(client, model, one.tobytes(), [{"id": "p"}]).status_code == 409
    assert statuses(send_form(client, model, one.tobytes(), [{"id": "p"}], replace="true")) == ["replaced"]
    assert client.get(f"{collection_path}/images/p/original").status_code == 404


def test_vector_without_an_image_has_no_thumbnail(
    client: TestClient, collection_path: str, model: dict[str, Any]
) -> None:
    row = unit_rows(1)[0]
    send_form(client, model, row.tobytes(), [{"id": "x"}])
    known = client.get(f"{collection_path}/images/x").json()
    assert (known["kept"], known["width"], known["height"]) == (False, 0, 0)
    assert known["n_bytes"] == EMBED_DIM * 4
    for kind in ("original", "thumbnail"):
        answer = client.get(f"{collection_path}/images/x/{kind}")
        assert (answer.status_code, "no file is kept" in answer.json()["detail"]) == (404, True)
    assert client.delete(f"{collection_path}/images/x").status_code == 204
    assert client.get(collection_path).json()["n_images"] == 0


def test_invalid_forms_are_rejected_and_name_the_field(
    client: TestClient, collection_path: str, model: dict[str, Any]
) -> None:
    rows = unit_rows(2).tobytes()

    def refused(answer: Any) -> tuple[int, Any]:
        return answer.status_code, answer.json().get("item")

    assert refused(send_form(client, model, rows[:-1])) == (422, "embeddings")
    assert refused(send_form(client, model, b"")) == (422, "embeddings")
    assert refused(send_form(client, model, rows, [{}])) == (422, "items")
    assert refused(send_form(client, model, unit_rows(41).tobytes())) == (413, "embeddings")
    many = {"model": model, "items": [{"embedding": "AAAA"}] * 41}
    assert refused(client.post(PATH, json=many)) == (413, "items")
    broken = {"model": model, "items": [{"embedding": "not base64"}]}
    assert refused(client.post(PATH, json=broken)) == (422, "items[0].embedding")
    odd = {"model": model, "items": [{"embedding": base64.b64encode(b"12345").decode()}]}
    assert refused(client.post(PATH, json=odd)) == (422, "items[0].embedding")
    assert client.post(PATH, content=rows, headers={"content-type": "text/plain"}).status_code == 415
    absent = client.post(
        "/collections/absent/vectors", json={"model": model, "items": [{"embedding": "AAAA"}]}
    )
    assert absent.status_code == 404
