"""The examples of the description are accepted: a reader can try them as they stand."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.http.openapi import description_text
from support.app import running_app
from support.image_requests import add_images
from support.pictures import picture

NAMES = {"collection": "gallery", "id": "cat", "label_set": "kind", "name": "tiny", "version": "1"}
DESCRIPTION: dict[str, Any] = json.loads(description_text())
# Changes of the collection come last, and what the examples are about is there before.
LAST = ("patch /collections/{collection}", "post /keys")


def examples() -> list[tuple[str, Any]]:
    """Every example of a JSON body, with its call."""
    found = []
    for path, calls in DESCRIPTION["paths"].items():
        for method, call in calls.items():
            content = call.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None:
                schema = DESCRIPTION["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
                found += [(f"{method} {path}", example) for example in schema["examples"]]
    return sorted(found, key=lambda one: one[0] in LAST)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running_app(tmp_path_factory.mktemp("examples"), api_key="correct horse") as client:
        client.headers["X-API-Key"] = "correct horse"
        assert client.post("/collections", json={"name": "gallery"}).status_code == 201
        added = add_images(client, "/collections/gallery/images", picture("red"), items=[{"id": "cat"}])
        assert added.status_code == 200
        yield client


@pytest.mark.parametrize(("call", "example"), examples())
def test_example_is_accepted(client: TestClient, call: str, example: Any) -> None:
    method, path = call.split()
    if isinstance(example, dict) and example.get("model") == "everyday":
        example = {**example, "model": "tiny"}
    answer = client.request(method, path.format(**NAMES), json=example)
    vectors_of_another_model = 409 if path.endswith("/vectors") else None
    name_is_taken = 409 if call == "post /collections" else None
    assert answer.is_success or answer.status_code in {vectors_of_another_model, name_is_taken}, answer.text
