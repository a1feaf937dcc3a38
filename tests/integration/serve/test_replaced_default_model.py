"""The default model is another one after an upgrade, and the one before has left the model repository."""

import shutil
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from support.app import running_app
from support.image_requests import files_of
from support.pictures import picture
from support.tiny_bundle import EMBED_DIM, TINY, TinySizes, write_tiny_bundle

COLOURS = ("red", "green", "blue")
WITHIN_S = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data of model `tiny`, of which one collection keeps no images; the repository now has `new` alone."""
    with running_app(tmp_path) as client:
        client.post("/collections", json={"name": "bare", "keep": "none"}).raise_for_status()
        for collection in ("default", "bare"):
            files = files_of([picture(colour) for colour in COLOURS])
            client.post(f"/collections/{collection}/images", files=files).raise_for_status()
    shutil.rmtree(tmp_path / "model_repo" / TINY)
    write_tiny_bundle(tmp_path / "model_repo", "new", sizes=TinySizes(embed_dim=2 * EMBED_DIM, image_size=64))
    return tmp_path


def found(client: TestClient, collection: str) -> tuple[str, int]:
    """The model that answers a search, and the number of its hits."""
    answer = client.get("/search", params={"q": "red", "collection": collection})
    answer.raise_for_status()
    return answer.json()["model"]["name"], len(answer.json()["hits"])


def wait_until_serving(client: TestClient, name: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while client.get("/version").json()["model"]["name"] != name:
        assert time.monotonic() < deadline, client.get("/rollouts").json()
        assert found(client, "default")[1] == len(COLOURS)  # by either model, all the while
        time.sleep(0.01)


def test_collections_move_to_the_model_that_a_start_names_and_are_searched_meanwhile(folder: Path) -> None:
    with running_app(folder, model="new") as client:
        wait_until_serving(client, "new")
        assert found(client, "default") == ("new", len(COLOURS))
        assert found(client, "bare") == (TINY, len(COLOURS))
        assert "keep" in client.get("/collections/bare").json()["stays"]
        assert client.post("/collections", json={"name": "more"}).json()["model"] == "new"


def test_model_before_serves_on_where_a_start_names_it(folder: Path) -> None:
    with running_app(folder, model=TINY) as client:
        assert client.get("/version").json()["model"]["name"] == TINY
        assert found(client, "default") == (TINY, len(COLOURS))


def test_model_before_can_be_returned_to(folder: Path) -> None:
    with running_app(folder, model="new") as client:
        wait_until_serving(client, "new")
        client.post(f"/models/{TINY}/versions/1/activate").raise_for_status()
        wait_until_serving(client, TINY)
        assert found(client, "default") == (TINY, len(COLOURS))
