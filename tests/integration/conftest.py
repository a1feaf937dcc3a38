"""Fixtures that tests of this folder share: model repositories, stores, data folders, an image host."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from integration.backup_parts import PETS
from integration.data_folders import add
from integration.job_parts import RunJobs, job_stories
from integration.store_parts import Run, stories
from support.fixtures import model_repo_fixture
from support.image_host import ImageHost, image_host, write_certificate
from support.object_store import ALL_METHODS, Store, store
from support.postgres import Cluster, cluster

model_repo = model_repo_fixture({})


@pytest.fixture
def run(model_repo: Path, tmp_path: Path) -> Run:
    """Run a story over one data folder. The next story finds what the earlier ones left."""
    return stories(model_repo, tmp_path / "data")


@pytest.fixture
def run_jobs(model_repo: Path, tmp_path: Path) -> RunJobs:
    """Run a story with jobs over one data folder. The next story finds what the earlier ones left."""
    return job_stories(model_repo, tmp_path / "data")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return a data folder with the images of `PETS`."""
    add(tmp_path / "data", PETS)
    return tmp_path / "data"


@pytest.fixture
def collection_path(client: TestClient) -> Iterator[str]:
    """Create the collection `pets` for one test and yield its path. `client` is that of the test's file."""
    assert client.post("/collections", json={"name": "pets"}).status_code == 201
    yield "/collections/pets"
    client.delete("/collections/pets")


@pytest.fixture
def images_path(collection_path: str) -> str:
    """Return the path of the images of the collection `pets`."""
    return f"{collection_path}/images"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageHost]:
    """Run an image host with a certificate of its own."""
    with image_host(*write_certificate(tmp_path_factory.mktemp("host"))) as host:
        yield host


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """Run a PostgreSQL server for all tests of this process."""
    with cluster() as one:
        yield one


@pytest.fixture(scope="session")
def s3() -> Iterator[Store]:
    """Run an object store for all tests of this process."""
    with store() as one:
        yield one


@pytest.fixture
def object_store(s3: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The object store, without faults before and after the test, and the variables that its clients read."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3.requests.clear()
    yield s3
    s3.fault = None
    s3.released.set()
    s3.released = threading.Event()
    s3.methods = ALL_METHODS
