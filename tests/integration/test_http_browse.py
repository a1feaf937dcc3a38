"""What callers see of the content of a collection: images that pass a filter."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.fixtures import client_fixture
from support.image_requests import add_images
from support.pictures import noise

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


@pytest.mark.parametrize(
    ("filter", "status", "item"),
    [
        ("{", 400, "filter"),
        ("{}", 422, "filter"),
        ("[]", 422, "filter"),
        ('{"year": {"above": 1}}', 422, "filter.year.above"),
    ],
)
def test_listing_names_what_is_wrong_with_the_filter(
    client: TestClient, pictures: str, filter: str, status: int, item: str
) -> None:
    refused = client.get(pictures, params={"filter": filter})
    assert (refused.status_code, refused.json()["item"]) == (status, item)
