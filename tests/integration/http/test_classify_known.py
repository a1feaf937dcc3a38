"""`/classify` with what is known of images already: embeddings, and images of collections."""

import base64
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from support.app import running_app
from support.fixtures import client_fixture
from support.image_requests import add_images, data_uri
from support.pictures import picture
from support.tiny_bundle import EMBED_DIM, TINY, write_tiny_bundle

LABELS = ["red", "green", "blue"]
client = client_fixture(max_items=3)


@pytest.fixture(scope="module")
def embedded(client: TestClient) -> dict[str, Any]:
    """The answer of /embed to two pictures."""
    items = [{"image": data_uri(picture(colour))} for colour in ("blue", "red")]
    answer: dict[str, Any] = client.post("/embed", json={"input": items}).json()
    return answer


def by_items(client: TestClient, *images: Any, **more: Any) -> Any:
    return client.post("/classify", json={"images": list(images), "labels": LABELS, **more})


@pytest.mark.parametrize("options", [{}, {"top_k": 2, "template": "{}"}])
def test_embedding_is_classified_as_its_image(
    client: TestClient, embedded: dict[str, Any], options: dict[str, Any]
) -> None:
    whole = by_items(client, *(data_uri(picture(colour)) for colour in ("blue", "red")), **options).json()
    blue, red = (row["embedding"] for row in embedded["data"])
    text = base64.b64encode(np.array(red, "<f4").tobytes()).decode()
    again = by_items(
        client, {"embedding": blue}, {"embedding": text}, model=embedded["model"], **options
    ).json()
    assert again["model"] == whole["model"]
    for one, other in zip(again["data"], whole["data"], strict=True):
        assert [p["label"] for p in one["predictions"]] == [p["label"] for p in other["predictions"]]
        for kind in ("score", "cosine"):
            found = [p[kind] for p in one["predictions"]]
            assert found == pytest.approx([p[kind] for p in other["predictions"]], abs=1e-5)


def test_images_embeddings_and_stored_images_stand_side_by_side(
    client: TestClient, images_path: str, embedded: dict[str, Any]
) -> None:
    add_images(client, images_path, picture("green"), items=[{"id": "g"}])
    items = [{"embedding": embedded["data"][0]["embedding"]}, data_uri(picture("red"))]
    answer = by_items(client, *items, {"id": "g", "collection": "pets"}, model=embedded["model"])
    assert [row["predictions"][0]["label"] for row in answer.json()["data"]] == ["blue", "red", "green"]
    wrapped = by_items(client, {"image": data_uri(picture("red"))}).json()
    assert wrapped == by_items(client, data_uri(picture("red"))).json()
    bad = by_items(client, items[0], data_uri(b"nothing"), model=embedded["model"])
    assert (bad.status_code, bad.json()["item"]) == (415, "images[1]")


@pytest.mark.parametrize("change", [{"version": 2}, {"precision": "int8"}])
def test_embedding_of_another_model_is_a_409_that_names_both(
    client: TestClient, embedded: dict[str, Any], change: dict[str, Any]
) -> None:
    other = embedded["model"] | change
    refused = by_items(client, {"embedding": embedded["data"][0]["embedding"]}, model=other)
    assert refused.status_code == 409
    assert f"{other['name']}/{other['version']}" in refused.json()["detail"]
    assert "this server serves tiny/1 (fp32, exact decoding)" in refused.json()["detail"]


def test_model_of_embeddings_is_needed_and_may_leave_precision_and_decoding_out(
    client: TestClient, embedded: dict[str, Any]
) -> None:
    item = {"embedding": embedded["data"][0]["embedding"]}
    refused = by_items(client, item)
    assert (refused.status_code, refused.json()["item"]) == (422, "model")
    short = {name: embedded["model"][name] for name in ("name", "version")}
    assert by_items(client, item, model=short).status_code == 200


@pytest.mark.parametrize(
    ("embedding", "reason"),
    [
        ([1.0], "has 1 numbers"),
        ([0.0] * EMBED_DIM, "has norm 0"),
        ("AAA", "base64 is broken"),
        (base64.b64encode(np.full(EMBED_DIM, np.nan, "<f4").tobytes()).decode(), "not finite"),
    ],
)
def test_embedding_that_is_none_is_a_422_that_names_it(
    client: TestClient, embedded: dict[str, Any], embedding: Any, reason: str
) -> None:
    good = {"embedding": embedded["data"][0]["embedding"]}
    refused = by_items(client, good, {"embedding": embedding}, model=embedded["model"])
    assert (refused.status_code, refused.json()["item"]) == (422, "images[1]"), refused.text
    assert reason in refused.json()["detail"]


def test_stored_image_that_is_not_there_is_a_404_that_names_it(client: TestClient, images_path: str) -> None:
    for item in ({"id": "x", "collection": "pets"}, {"id": "x", "collection": "none"}, {"id": "x"}):
        missing = by_items(client, data_uri(picture("red")), item)
        assert (missing.status_code, missing.json()["item"]) == (404, "images[1]")


def test_stored_image_of_another_precision_is_embedded_from_its_file(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions={"fp32": "equal", "int8": "rounded"})
    with running_app(tmp_path, precision="int8") as client:
        path = "/collections/default/images"  # which cannot move to another precision
        assert add_images(client, path, picture("red"), items=[{"id": "r"}]).status_code == 200
        client.patch("/collections/default", json={"keep": "none"})
        assert add_images(client, path, picture("blue"), items=[{"id": "b"}]).status_code == 200
        moved = client.post(f"/models/{TINY}/versions/1/activate", json={"precision": "fp32"}).json()
        while client.get(f"/rollouts/{moved['id']}").json()["finished_at"] is None:
            time.sleep(0.01)
        assert client.get("/collections/default").json()["vectors"]["precision"] == "int8"
        stored = by_items(client, {"id": "r"})
        assert stored.json() == by_items(client, data_uri(picture("red"))).json()
        assert stored.json()["model"]["precision"] == "fp32"
        lost = by_items(client, {"id": "b"})
        assert (lost.status_code, "no file" in lost.json()["detail"]) == (409, True)
