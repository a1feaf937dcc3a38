"""Collections and their images as callers see them, on the tiny bundle."""

import hashlib
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.fixtures import client_fixture
from support.image_requests import add_images, image_ids
from support.pictures import noise, picture
from support.tiny_bundle import EMBED_DIM

client = client_fixture(max_add_items=4)


def test_collection_is_created_listed_and_dropped(client: TestClient) -> None:
    assert [row["name"] for row in client.get("/collections").json()["collections"]] == ["default"]
    assert client.post("/collections", json={"name": "../x"}).status_code == 422
    made = client.post("/collections", json={"name": "brief"})
    assert (made.status_code, made.json()["n_images"], made.json()["model"]) == (201, 0, "tiny")
    assert client.post("/collections", json={"name": "brief"}).status_code == 409
    assert client.get("/collections/brief").json() == made.json()
    assert client.delete("/collections/brief").status_code == 204
    assert client.get("/collections/brief").status_code == 404
    assert client.delete("/collections/brief").status_code == 404


def test_id_and_bytes_decide_what_an_add_does(client: TestClient, images_path: str) -> None:
    payload = picture("red")
    expected = hashlib.sha256(payload).hexdigest()[:32]
    for status in ("created", "unchanged"):  # without an id, an image is named by its content
        (outcome,) = add_images(client, images_path, payload).json()["outcomes"]
        assert (outcome["id"], outcome["status"]) == (expected, status)
    other = {"items": [{"id": expected}]}
    conflict = add_images(client, images_path, picture("blue"), **other)
    assert (conflict.status_code, conflict.json()["item"]) == (409, "images[0]")
    replaced = add_images(client, images_path, picture("blue"), **other, replace="true")
    assert replaced.json()["outcomes"][0]["status"] == "replaced"


def test_bad_image_fails_alone_among_many_and_is_the_response_when_alone(
    client: TestClient, images_path: str
) -> None:
    outcomes = add_images(client, images_path, picture("red"), b"nothing", picture("blue")).json()["outcomes"]
    assert [outcome["status"] for outcome in outcomes] == ["created", "failed", "created"]
    assert outcomes[1]["error"]["status"] == 415
    for payload in (b"nothing", b""):
        alone = add_images(client, images_path, payload)
        assert (alone.status_code, alone.json()["item"]) == (415, "images[0]")
        assert alone.json()["detail"].startswith("images[0]: ")


@pytest.mark.parametrize(
    ("items", "item"),
    [
        ([], "items"),
        ({"id": "a"}, "items"),
        ([{"name": "a"}], "items[0]"),
        ([{"id": "a/b"}], "items[0].id"),
        ([{}] * 5, "items"),
        ([{"metadata": {"x": "y" * 20_000}}], "items[0].metadata"),
    ],
)
def test_items_must_fit_the_images(client: TestClient, images_path: str, items: Any, item: str) -> None:
    answer = add_images(client, images_path, picture("red"), items=items)
    assert answer.status_code in {413, 422}
    assert answer.json()["item"] == item, answer.text
    assert answer.json()["detail"].startswith(item)


def test_original_and_thumbnail_have_an_etag(client: TestClient, images_path: str) -> None:
    payload = noise(7, (300, 200), "JPEG")
    add_images(client, images_path, payload, items=[{"id": "one"}])
    original = client.get(f"{images_path}/one/original")
    assert (original.content, original.headers["content-type"]) == (payload, "image/jpeg")
    thumbnail = client.get(f"{images_path}/one/thumbnail", params={"size": 64})
    assert thumbnail.headers["content-type"] == "image/webp"
    assert len(thumbnail.content) < len(payload)
    unchanged = client.get(f"{images_path}/one/thumbnail", headers={"If-None-Match": client.get(
        f"{images_path}/one/thumbnail").headers["etag"]})  # fmt: skip
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert client.get(f"{images_path}/one/thumbnail", params={"size": 65}).status_code == 422
    assert client.get(f"{images_path}/two/thumbnail").status_code == 404


def test_patch_merges_metadata_and_delete_removes(client: TestClient, images_path: str) -> None:
    add_images(
        client, images_path, picture("red"), items=[{"id": "one", "metadata": {"a": 1, "b": {"c": 2}}}]
    )
    patched = client.patch(f"{images_path}/one", json={"metadata": {"a": None, "b": {"d": 3}}})
    assert patched.json()["metadata"] == {"b": {"c": 2, "d": 3}}
    assert client.patch(f"{images_path}/one", json={"metadata": 1}).status_code == 422
    assert client.patch(f"{images_path}/one", content=b"x").status_code == 415
    assert client.delete(f"{images_path}/one").status_code == 204
    assert client.get(f"{images_path}/one").status_code == 404
    assert client.get("/collections/pets").json()["n_images"] == 0


def test_metadata_that_an_unchanged_image_lacks_is_reported(client: TestClient, images_path: str) -> None:
    def add(*metadata: Any, replace: bool = False) -> list[tuple[str, bool]]:
        items = [{"id": "one", "metadata": one} for one in metadata]
        params = {"replace": "true"} if replace else {}
        added = add_images(client, images_path, *[picture("red")] * len(items), items=items, **params)
        return [(one["status"], one["metadata_differs"]) for one in added.json()["outcomes"]]

    assert add({"a": 1}) == [("created", False)]
    assert add({"a": 2}) == [("unchanged", True)]
    assert add({"a": 1}, {"a": 2}) == [("unchanged", False), ("unchanged", True)]  # one id, stored in turn
    assert add({"a": 2}, replace=True) == [("replaced", False)]
    assert add({"a": 2}) == [("unchanged", False)]
    assert client.get(f"{images_path}/one").json()["metadata"] == {"a": 2}


def add_named(client: TestClient, path: str, **metadata: Any) -> None:
    """Add one image for each name, with its metadata."""
    names = list(metadata)
    items = [{"id": name, "metadata": metadata[name]} for name in names]
    for name, item in zip(names, items, strict=True):
        assert add_images(client, path, noise(ord(name)), items=[item]).status_code == 200


def test_images_that_match_a_filter_are_previewed_then_deleted(client: TestClient, images_path: str) -> None:
    add_named(client, images_path, a={"year": 1999}, b={"year": 2001}, c={"year": 1998}, d={})
    old = {"filter": {"year": {"lt": 2000}}}
    previewed = client.post("/collections/pets/deletions", json=old | {"preview": True})
    assert previewed.json() == {"n_images": 2, "preview": True, "ids": ["a", "c"]}
    assert image_ids(client, images_path) == ["a", "b", "c", "d"]
    deleted = client.post("/collections/pets/deletions", json=old)
    assert deleted.json() == {"n_images": 2, "preview": False, "ids": []}
    assert image_ids(client, images_path) == ["b", "d"]
    assert client.post("/collections/pets/deletions", json=old).json()["n_images"] == 0
    assert client.get("/collections/pets").json()["n_images"] == 2
    assert client.get(f"{images_path}/a/original").status_code == 404


@pytest.mark.parametrize(
    ("asked", "item"),
    [
        ({}, "body"),
        ({"filter": {"year": {"above": 1}}}, "filter.year.above"),
        ({"filter": {"a": 1}, "all": True}, "all"),
    ],
)
def test_deletion_without_a_valid_condition_is_rejected(
    client: TestClient, images_path: str, asked: Any, item: str
) -> None:
    refused = client.post("/collections/pets/deletions", json=asked)
    assert (refused.status_code, refused.json()["item"]) == (422, item)
    assert client.post("/collections/absent/deletions", json={"lacking": True}).status_code == 404


def test_collection_is_renamed_with_its_images(client: TestClient, images_path: str) -> None:
    add_named(client, images_path, a={"n": 1})
    client.post("/collections", json={"name": "taken"})
    assert client.patch("/collections/pets", json={"name": "taken"}).status_code == 409
    assert client.patch("/collections/pets", json={"name": "Bad"}).status_code == 422
    assert client.patch("/collections/absent", json={"name": "x"}).status_code == 404
    assert client.patch("/collections/pets", json={"name": "pets"}).status_code == 200
    renamed = client.patch("/collections/pets", json={"name": "moved"})
    assert (renamed.status_code, renamed.json()["name"], renamed.json()["n_images"]) == (200, "moved", 1)
    assert client.get("/collections/pets").status_code == 404
    assert image_ids(client, "/collections/moved/images") == ["a"]
    found = client.get("/search", params={"q": "red", "collection": "moved"}).json()["hits"]
    assert found[0]["links"]["self"] == "/collections/moved/images/a"
    metrics = client.get("/metrics").text
    assert 'diptych_collection_images{collection="moved"} 1.0' in metrics
    assert 'collection="pets"' not in metrics
    for name in ("moved", "taken"):
        client.delete(f"/collections/{name}")


def test_collection_reports_kept_files_and_the_model_of_its_vectors(
    client: TestClient, images_path: str
) -> None:
    payload = noise(1)
    add_images(client, images_path, payload)
    assert client.patch("/collections/pets", json={"keep": "none"}).json()["keep"] == "none"
    add_images(client, images_path, noise(2))
    told = client.get("/collections/pets").json()
    assert (told["n_images"], told["n_embedded"], told["n_kept"]) == (2, 2, 1)
    assert told["kept_bytes"] == len(payload)
    assert (told["text_fields"], told["n_text_indexed"]) == (None, 2)
    model = client.post("/embed", json={"input": [{"text": "red"}]}).json()["model"]
    assert (told["vectors"], told["recall"], told["state"]) == (model, 1.0, "ready")
    assert (told["index"]["device"], bool(told["index"]["reason"])) == ("cpu", True)
    assert (told["memory_bytes"], told["load_s"]) == (2 * 4 * EMBED_DIM, None)
    listed = client.get("/collections").json()
    assert told in listed["collections"]
    assert listed["database_bytes"] > 0


def test_fields_whose_words_are_indexed_are_chosen_and_changed(client: TestClient) -> None:
    chosen = {"name": "chosen", "text_fields": ["caption", "file.name"]}
    created = client.post("/collections", json=chosen)
    assert (created.status_code, created.json()["text_fields"]) == (201, ["caption", "file.name"])
    for change, fields in [({"keep": "none"}, ["caption", "file.name"]), ({"text_fields": []}, [])]:
        assert client.patch("/collections/chosen", json=change).json()["text_fields"] == fields
    repeated = client.patch("/collections/chosen", json={"text_fields": ["b", "a.b", "b"]}).json()
    assert repeated["text_fields"] == ["b", "a.b"]
    changed = client.patch("/collections/chosen", json={"text_fields": None}).json()
    assert (changed["text_fields"], changed["n_text_indexed"]) == (None, 0)
    client.delete("/collections/chosen")


@pytest.mark.parametrize("fields", ["caption", [""], [1], ["x" * 201], ["x"] * 101, ["a..b"], ["b", ".a"]])
def test_fields_whose_words_are_indexed_must_be_paths(client: TestClient, fields: Any) -> None:
    answer = client.post("/collections", json={"name": "wrong", "text_fields": fields})
    assert (answer.status_code, answer.json()["item"].partition("[")[0]) == (422, "text_fields")
    assert client.get("/collections/wrong").status_code == 404


def test_lookup_returns_the_ids_that_exist(client: TestClient, images_path: str) -> None:
    add_named(client, images_path, a={}, b={"n": 1})
    found = client.post("/collections/pets/lookups", json={"ids": ["b", "x", "a", "b"]}).json()["images"]
    assert [one["id"] for one in found] == ["a", "b"]
    assert found[1] == client.get(f"{images_path}/b").json()
    assert client.post("/collections/absent/lookups", json={"ids": []}).status_code == 404
    many = client.post("/collections/pets/lookups", json={"ids": ["x"] * 1001})
    assert (many.status_code, many.json()["item"]) == (413, "ids")
