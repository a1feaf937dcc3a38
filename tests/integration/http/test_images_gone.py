"""The folder of image files goes away and comes back while it is served, as a disk of its own may."""

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response

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


@pytest.fixture
def images(folder: Path, client: TestClient) -> Path:
    return folder / "data" / "images"


def add(client: TestClient, *numbers: int) -> Response:
    return add_images(client, IMAGES, *(tiny_png(n) for n in numbers))


def detail(answer: Response) -> str:
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:diptych:error:store-unavailable")
    return str(answer.json()["detail"])


def check_refused(client: TestClient, why: str) -> None:
    """Check that readiness and writes fail with this reason, while calls that need no file succeed."""
    before = image_ids(client, IMAGES)
    ready = client.get("/readyz")
    assert (ready.status_code, why in ready.json()["detail"]) == (503, True)
    assert "diptych_ready 0.0\n" in client.get("/metrics").text
    answers = [
        add(client, 7),
        add(client, 0),  # is there already
        client.delete(f"{IMAGES}/{before[0]}"),
        client.post("/collections/default/deletions", json={"filter": {"n": 1}}),
        client.delete("/collections/default"),
        client.get(f"{IMAGES}/{before[0]}/original"),
        client.post("/collections/default/lookups", json={"ids": before}),
    ]
    assert all(why in detail(answer) for answer in answers), [answer.text for answer in answers]
    assert image_ids(client, IMAGES) == before
    assert len(client.get("/search", params={"q": "red"}).json()["hits"]) == len(before)


def check_served(client: TestClient) -> None:
    """Check that the server is ready, has every image and accepts writes."""
    assert client.get("/readyz").status_code == 200
    assert all(client.get(f"{IMAGES}/{id}/original").is_success for id in image_ids(client, IMAGES))
    assert add(client, 8).is_success
    assert client.delete(f"{IMAGES}/{add(client, 8).json()['outcomes'][0]['id']}").is_success


def test_missing_image_folder_is_not_created_again(client: TestClient, images: Path) -> None:
    away = images.rename(images.with_name("away"))
    check_refused(client, "the folder images of the data folder is not there")
    assert not images.exists()
    away.rename(images)
    check_served(client)


def come_back_as_another_disk(away: Path, images: Path) -> None:
    images.rmdir()
    shutil.copytree(away, images)
    shutil.rmtree(away)


def come_back_as_it_was(away: Path, images: Path) -> None:
    images.rmdir()
    away.rename(images)


@pytest.mark.parametrize("come_back", [come_back_as_it_was, come_back_as_another_disk])
def test_empty_folder_of_an_unmounted_disk_is_not_written_to(
    client: TestClient, images: Path, come_back: Callable[[Path, Path], None]
) -> None:
    away = images.rename(images.with_name("away"))
    images.mkdir()
    check_refused(client, "is not the one that was opened")
    assert list(images.iterdir()) == []
    come_back(away, images)
    check_served(client)


def test_missing_folder_logs_one_line_at_its_start_and_end(
    client: TestClient, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "diptych")
    away = images.rename(images.with_name("away"))
    for _ in range(3):
        check_refused(client, "is not there")
    away.rename(images)
    check_served(client)
    said = [one for one in caplog.records if one.name not in ("diptych.access", "diptych.audit")]
    assert [one.levelname for one in said] == ["ERROR", "INFO"], [one.getMessage() for one in said]
