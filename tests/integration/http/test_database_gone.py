"""Files of the data folder that a server holds open are removed while it runs."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from diptych.adapters.files.data_lock import DataLock
from integration.store_parts import tiny_png
from support.app import running_app
from support.image_requests import add_images, image_ids

IMAGES = "/collections/default/images"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with running_app(folder) as opened:
        assert add(opened, *range(5)).is_success
        yield opened


def add(client: TestClient, *numbers: int) -> Response:
    return add_images(client, IMAGES, *(tiny_png(n) for n in numbers))


def check_refused(client: TestClient, refusal: str) -> None:
    """Check that readiness and writes fail with this reason, and that searches go on."""
    before = image_ids(client, IMAGES)
    answers = [
        add(client, 7),
        client.delete(f"{IMAGES}/{before[0]}"),
        client.patch(f"{IMAGES}/{before[0]}", json={"metadata": {"a": 1}}),
        client.post("/collections", json={"name": "new"}),
        client.patch("/collections/default", json={"name": "renamed"}),
        client.delete("/collections/default"),
    ]
    kinds = {(answer.status_code, answer.json()["type"]) for answer in answers}
    assert kinds == {(503, "urn:diptych:error:store-unavailable")}
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert all(refusal in answer.json()["detail"] for answer in (*answers, ready))
    assert image_ids(client, IMAGES) == before
    assert len(client.get("/search", params={"q": "red"}).json()["hits"]) == len(before)


@pytest.mark.parametrize("file", ["diptych.sqlite3", "diptych.sqlite3-wal", "lock"])
def test_writes_are_refused_while_a_file_is_gone(client: TestClient, folder: Path, file: str) -> None:
    path = folder / "data" / file
    away = path.rename(path.with_name("away"))
    check_refused(client, f"the file {file} of the data folder is not there")
    assert not path.exists()
    away.rename(path)
    assert client.get("/readyz").status_code == 200
    assert client.delete(f"{IMAGES}/{add(client, 8).json()['outcomes'][0]['id']}").is_success


def test_writes_are_refused_once_another_process_has_the_lock(client: TestClient, folder: Path) -> None:
    path = folder / "data" / "lock"
    away = path.rename(path.with_name("away"))
    with closing(DataLock(folder / "data")):
        check_refused(client, "the file lock of the data folder is another one than the server opened")
    away.replace(path)
    assert client.get("/readyz").status_code == 200
