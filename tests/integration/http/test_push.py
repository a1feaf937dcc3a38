"""`POST /models/{name}/versions` as callers see it, over a real repository."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.bundle.repository import ModelRepository
from support.app import running_app
from support.tars import files_of_bundle, tar_of
from support.tiny_bundle import TINY, write_tiny_bundle

KEY = "a key of tests"
WITH_KEY = {"Authorization": f"Bearer {KEY}"}
TAR = "application/x-tar"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("push")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with running_app(folder, api_key=KEY, max_bundle_bytes=5_000_000) as client:
        client.headers.update(WITH_KEY)
        yield client


@pytest.fixture(scope="module")
def repository(folder: Path, client: TestClient) -> ModelRepository:
    return ModelRepository(folder / "model_repo")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Of `tiny/2`, made on another machine; the server has another `tiny/1`."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_tiny_bundle(elsewhere, seed=1)
    write_tiny_bundle(elsewhere, seed=2)
    return files_of_bundle(ModelRepository(elsewhere).folder(TINY, 2))


@pytest.fixture(autouse=True)
def only_the_first_version(repository: ModelRepository) -> Iterator[None]:
    yield
    for name in repository.names():
        for version in repository.versions(name):
            if (name, version) != (TINY, 1):
                shutil.rmtree(repository.folder(name, version))


def push(client: TestClient, archive: bytes, name: str = TINY, **headers: str) -> Any:
    return client.post(f"/models/{name}/versions", content=archive, headers={"content-type": TAR} | headers)


def test_pushed_version_is_the_next_one_and_listed_but_not_served(
    client: TestClient, repository: ModelRepository, files: dict[str, bytes]
) -> None:
    answer = push(client, tar_of(files))
    assert answer.status_code == 201, answer.text
    contents = [len(content) for name, content in files.items() if name != "manifest.json"]
    assert answer.json() == {
        "name": TINY,
        "version": 2,
        "created": True,
        "active": False,
        "n_files": len(contents),
        "n_bytes": sum(contents),
    }
    assert answer.headers["location"] == f"/models/{TINY}/versions/2"
    assert client.get(answer.headers["location"]).json()["manifest"]["version"] == 2
    (listed,) = client.get("/models").json()["models"]
    assert (listed["versions"], listed["active"], listed["ignored"]) == ([1, 2], 1, [])
    repository.verify(TINY, 2)
    again = push(client, tar_of(files))
    assert (again.status_code, again.json()) == (200, answer.json() | {"created": False})
    assert again.headers["location"] == answer.headers["location"]
    served = push(client, tar_of(files_of_bundle(repository.folder(TINY, 1))))
    assert (served.status_code, served.json()["version"], served.json()["active"]) == (200, 1, True)
    other = push(client, tar_of(files), "mine").json()
    assert (other["name"], other["version"], repository.verify("mine", 1).name) == ("mine", 1, "mine")


def test_wrong_file_is_named_and_nothing_is_published(
    client: TestClient, repository: ModelRepository, files: dict[str, bytes]
) -> None:
    answer = push(client, tar_of(files | {"golden.npz": bytes(len(files["golden.npz"]))}))
    assert (answer.status_code, answer.json()["item"]) == (422, "golden.npz")
    assert "sha256 is" in answer.json()["detail"]
    assert repository.versions(TINY) == [1]
    answer = push(client, tar_of(files)[:5000])
    assert (answer.status_code, answer.json()["title"]) == (400, "Malformed")


def test_limits_and_types_of_the_body_are_said(client: TestClient, files: dict[str, bytes]) -> None:
    answer = push(client, bytes(5_000_001))
    assert (answer.status_code, answer.json()["title"]) == (413, "Too large")
    assert "limit is 5000000" in answer.json()["detail"]
    answer = client.post(f"/models/{TINY}/versions", files={"bundle": b"x"})
    assert answer.status_code == 415
    assert TAR in answer.json()["detail"]
    assert push(client, b"", **{"x-api-key": "wrong", "authorization": ""}).status_code == 401
    answer = client.post(f"/models/{TINY}/versions?replace=true", headers={"content-type": TAR})
    assert (answer.status_code, answer.json()["item"]) == (422, "replace")


def test_server_without_a_key_takes_no_version(tmp_path: Path, files: dict[str, bytes]) -> None:
    with running_app(tmp_path) as client:
        answer = push(client, tar_of(files))
        assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")
        assert "this server was started without an API key" in answer.json()["detail"]
        assert "starts it again with DIPTYCH_API_KEY set" in answer.json()["detail"]
        assert client.get("/models").json()["models"][0]["versions"] == [1]
