"""Parts of the data folder go away and come back while it is served, as a disk may, or it is full."""

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
ROOM = 300_000  # of the quota, for the database and a few images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with running_app(folder) as opened:
        assert add(opened, *range(5)).is_success
        with ThreadPoolExecutor(8) as callers:  # until each reader of the store has its connection
            list(callers.map(lambda _: image_ids(opened, IMAGES), range(40)))
        yield opened


def add(client: TestClient, *numbers: int) -> Response:
    return add_images(client, IMAGES, *(tiny_png(n) for n in numbers))


def check_refused(client: TestClient, why: str, *others: Response) -> None:
    """Check that readiness, writes and other answers fail with this reason, and that searches go on."""
    before = image_ids(client, IMAGES)
    answers = [
        add(client, 7),
        client.delete(f"{IMAGES}/{before[0]}"),
        client.delete("/collections/default"),
        *others,
    ]
    assert {(one.status_code, one.json()["type"]) for one in answers} == {
        (503, "urn:diptych:error:store-unavailable")
    }
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert all(why in one.json()["detail"] for one in (*answers, ready)), [one.text for one in answers]
    assert "diptych_ready 0.0\n" in client.get("/metrics").text
    assert image_ids(client, IMAGES) == before
    assert len(client.get("/search", params={"q": "red"}).json()["hits"]) == len(before)


def check_served(client: TestClient) -> None:
    """Check that the server is ready, has every image and accepts writes."""
    assert client.get("/readyz").status_code == 200
    assert all(client.get(f"{IMAGES}/{id}/original").is_success for id in image_ids(client, IMAGES))
    assert add(client, 8).is_success
    assert client.delete(f"{IMAGES}/{add(client, 8).json()['outcomes'][0]['id']}").is_success


def test_missing_image_folder_is_not_created_again_and_logs_one_line_at_its_start_and_end(
    client: TestClient, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "diptych")
    images = folder / "data" / "images"
    away = images.rename(images.with_name("away"))
    for _ in range(3):
        first = image_ids(client, IMAGES)[0]
        check_refused(
            client,
            "the folder images of the data folder is not there",
            add(client, 0),  # is there already
            client.get(f"{IMAGES}/{first}/original"),
            client.post("/collections/default/lookups", json={"ids": [first]}),
            client.post("/collections/default/deletions", json={"filter": {"n": 1}}),
        )
    assert not images.exists()
    away.rename(images)
    check_served(client)
    said = [one for one in caplog.records if one.name not in ("diptych.access", "diptych.audit")]
    assert [one.levelname for one in said] == ["ERROR", "INFO"], [one.getMessage() for one in said]


@pytest.mark.parametrize("is_copied", [False, True])
def test_empty_folder_of_an_unmounted_disk_is_not_written_to(
    client: TestClient, folder: Path, is_copied: bool
) -> None:
    images = folder / "data" / "images"
    away = images.rename(images.with_name("away"))
    images.mkdir()
    check_refused(client, "is not the one that was opened")
    images.rmdir()  # which shows that it is empty
    if is_copied:
        shutil.copytree(away, images)
        shutil.rmtree(away)
    else:
        away.rename(images)
    check_served(client)


@pytest.mark.parametrize("file", ["diptych.sqlite3", "diptych.sqlite3-wal", "lock"])
def test_writes_are_refused_while_a_file_is_gone(client: TestClient, folder: Path, file: str) -> None:
    image = f"{IMAGES}/{image_ids(client, IMAGES)[0]}"
    path = folder / "data" / file
    away = path.rename(path.with_name("away"))
    check_refused(
        client,
        f"the file {file} of the data folder is not there",
        client.patch(image, json={"metadata": {"a": 1}}),
        client.post("/collections", json={"name": "new"}),
        client.patch("/collections/default", json={"name": "renamed"}),
    )
    assert not path.exists()
    away.rename(path)
    check_served(client)


def test_writes_are_refused_once_another_process_has_the_lock(client: TestClient, folder: Path) -> None:
    path = folder / "data" / "lock"
    away = path.rename(path.with_name("away"))
    with closing(DataLock(folder / "data")):
        check_refused(client, "the file lock of the data folder is another one than the server opened")
    away.replace(path)
    assert client.get("/readyz").status_code == 200


def test_full_disk_logs_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    with running_app(tmp_path, max_data_bytes=ROOM) as client:

        def add(n: int) -> int:
            items = [{"metadata": {"long": "x" * 10_000}}]
            return add_images(client, IMAGES, tiny_png(n), items=items).status_code

        n = n_refused = 0
        while n_refused < 3:  # in a row: what one add does not fit into may do for the next
            n_refused = n_refused + 1 if add(n) == 507 else 0
            n += 1
    (refused,) = (one.getMessage() for one in caplog.records)
    assert refused.startswith("the data folder takes no writes: ")
    assert "the limit is 300000 (DIPTYCH_MAX_DATA_BYTES)" in refused
