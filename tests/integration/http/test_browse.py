"""What callers see of the content of a collection: a filtered list, fields, duplicates."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.fixtures import client_fixture
from support.image_requests import add_images
from support.pictures import noise, picture

client = client_fixture(max_add_items=8)
CATS = {"filter": json.dumps({"kind": "cat"})}


@pytest.fixture
def pictures(client: TestClient, images_path: str) -> str:
    """The path of five images, three of them cats."""
    metadata: dict[str, Any] = {
        "e": {"kind": "cat", "year": 2001},
        "d": {"kind": "dog", "year": 2001.5},
        "c": {"kind": "cat", "year": 1999},
        "b": {"kind": ["cat", "dog"]},
        "a": {},
    }
    items = [{"id": id, "metadata": found} for id, found in metadata.items()]
    answer = add_images(client, images_path, *(noise(seed) for seed in range(5)), items=items)
    assert answer.status_code == 200
    return images_path


def test_listing_has_the_images_that_pass_the_filter_and_their_number(
    client: TestClient, pictures: str
) -> None:
    first = client.get(pictures, params=CATS | {"limit": 2}).json()
    rest = client.get(pictures, params=CATS | {"limit": 2, "after": first["next"]}).json()
    assert [[image["id"] for image in page["images"]] for page in (first, rest)] == [["b", "c"], ["e"]]
    assert [page["total"] for page in (first, rest)] == [3, 3]
    assert rest["next"] is None
    whole = client.get(pictures).json()
    assert (len(whole["images"]), whole["total"], whole["next"]) == (5, 5, None)
    assert client.get(pictures, params={"limit": 1}).json()["total"] == 5
    client.delete(f"{pictures}/c")
    assert client.get(pictures, params=CATS).json()["total"] == 2


def test_listing_by_a_field_pages_in_its_order_and_combines_with_a_filter(
    client: TestClient, pictures: str
) -> None:
    by_year = {"order_by": "year", "direction": "desc", "limit": 2}
    pages, after = list[list[str]](), None
    while after is not None or not pages:
        page = client.get(pictures, params=by_year | ({"after": after} if after else {})).json()
        pages.append([image["id"] for image in page["images"]])
        after = page["next"]
    assert pages == [["d", "e"], ["c", "a"], ["b"]]
    cats = client.get(pictures, params=CATS | {"order_by": "year"}).json()
    assert ([image["id"] for image in cats["images"]], cats["total"]) == (["c", "e", "b"], 3)


@pytest.mark.parametrize(
    ("parameters", "item"),
    [
        ({"order_by": "year."}, "order_by"),
        ({"order_by": "year", "direction": "down"}, "direction"),
        ({"direction": "desc"}, "direction"),
        ({"order_by": '{"field": "year"}'}, "order_by"),
        ({"order_by": "year", "after": "c"}, "after"),
    ],
)
def test_wrong_order_is_named(
    client: TestClient, pictures: str, parameters: dict[str, str], item: str
) -> None:
    refused = client.get(pictures, params=parameters)
    assert (refused.status_code, refused.json()["item"]) == (422, item)


@pytest.mark.parametrize(
    ("filter", "status", "item"),
    [("{", 400, "filter"), ('{"year": {"above": 1}}', 422, "filter.year.above")],
)
@pytest.mark.parametrize("call", ["images", "fields", "folders"])
def test_wrong_filter_is_named(
    client: TestClient, pictures: str, filter: str, status: int, item: str, call: str
) -> None:
    refused = client.get(f"/collections/pets/{call}", params={"filter": filter})
    assert (refused.status_code, refused.json()["item"]) == (status, item)


def test_folders_are_counted_and_filtered_with_all_within_them(client: TestClient, pictures: str) -> None:
    places = {"a": "2024", "b": "2024/italy", "c": "2024/italy/rome", "d": "2024b"}
    for id, folder in places.items():
        patch = {"file": {"name": "x.png", "folder": folder}}
        client.patch(f"{pictures}/{id}", json={"metadata": patch})
    top = client.get("/collections/pets/folders").json()
    assert top == {
        "under": "",
        "n_folders": 2,
        "folders": [
            {"folder": "2024", "n_images": 3, "n_folders": 1},
            {"folder": "2024b", "n_images": 1, "n_folders": 0},
        ],
    }
    params = {"under": "2024/", "filter": json.dumps({"file.folder": {"under": "2024/italy/rome"}})}
    within = client.get("/collections/pets/folders", params=params).json()["folders"]
    assert within == [{"folder": "2024/italy", "n_images": 1, "n_folders": 1}]
    found = client.get(
        pictures, params={"filter": json.dumps({"file.folder": {"under": "2024/italy"}})}
    ).json()
    assert [one["id"] for one in found["images"]] == ["b", "c"]


def test_fields_of_the_metadata_are_described(client: TestClient, pictures: str) -> None:
    described = client.get("/collections/pets/fields").json()
    assert (described["n_images"], described["n_read"], described["n_fields"]) == (5, 5, 2)
    kind, year = described["fields"]
    assert kind == {
        "name": "kind",
        "n_images": 4,
        "kinds": ["list", "text"],
        "n_distinct": 2,
        "values": [{"value": "cat", "count": 3}, {"value": "dog", "count": 2}],
        "min": None,
        "max": None,
    }
    assert (year["n_images"], year["min"], year["max"], len(year["values"])) == (3, 1999, 2001.5, 3)
    some = client.get("/collections/pets/fields", params=CATS | {"limit": 1}).json()
    assert some["n_images"] == 3
    assert [len(field["values"]) for field in some["fields"]] == [1, 1]
    client.patch(f"{pictures}/a", json={"metadata": {"kind": "emu", "camera": {"make": "X"}}})
    assert client.get("/collections/pets/fields").json()["fields"][0]["n_distinct"] == 3
    nested = client.get("/collections/pets/fields", params={"nested": True}).json()["fields"]
    assert [field["name"] for field in nested] == ["kind", "year", "camera", "camera.make"]


@pytest.fixture
def copies(client: TestClient, images_path: str) -> str:
    """The path of the duplicates: two pairs of equal files, and one of the pictures in a larger file."""
    files = [picture("red"), noise(1), picture("red"), noise(1), picture("red", (64, 64)), noise(2)]
    answer = add_images(client, images_path, *files, items=[{"id": id} for id in "dbeacf"])
    assert answer.status_code == 200
    return "/collections/pets/duplicates"


def ids_of(page: Any) -> list[list[str]]:
    return [[image["id"] for image in group["images"]] for group in page["groups"]]


def test_duplicates_come_in_groups_by_their_first_ids(client: TestClient, copies: str) -> None:
    same = client.get(copies).json()
    assert ids_of(same) == [["a", "b"], ["d", "e"]]
    assert (same["next"], same["n_groups"], same["n_duplicates"], same["n_unknown"]) == (None, 2, 2, 0)
    assert same["groups"][0]["images"][1] == client.get("/collections/pets/images/b").json()
    alike = client.get(copies, params={"kind": "picture"}).json()
    assert ids_of(alike) == [["a", "b"], ["c", "d", "e"]]
    assert (alike["n_duplicates"], [group["n_images"] for group in alike["groups"]]) == (3, [2, 3])


def test_pages_of_duplicates_are_those_of_one_large_page(client: TestClient, copies: str) -> None:
    first = client.get(copies, params={"limit": 1}).json()
    assert (ids_of(first), first["next"], first["n_groups"]) == ([["a", "b"]], "a", 2)
    second = client.get(copies, params={"limit": 1, "after": first["next"]}).json()
    assert (ids_of(second), second["next"], second["n_groups"]) == ([["d", "e"]], None, 2)
