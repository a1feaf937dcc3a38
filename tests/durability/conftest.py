"""Fixtures that tests of this folder share: a model repository, servers that start quickly, a database,
a small disk.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from durability.small_disk import SmallDisk, small_disk
from support.fixtures import model_repo_fixture
from support.postgres import Cluster, cluster
from support.tiny_bundle import TINY
from support.warm_server import WarmServers

model_repo = model_repo_fixture({})


@pytest.fixture(scope="module")
def warm(model_repo: Path) -> WarmServers:
    """Return a starter of servers of the tiny model."""
    return WarmServers(model_repo, TINY)


@pytest.fixture(scope="module")
def durable() -> Iterator[Cluster]:
    """Run a PostgreSQL server whose commits are on the disk."""
    with cluster(is_durable=True) as one:
        yield one


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """Mount a small disk of `MEGABYTES`, a constant of the test's file."""
    with small_disk(tmp_path / "disk", request.module.MEGABYTES) as mounted:
        yield mounted
