"""Clients do not notice that versions change: no request fails, each answer is of the version it names."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from support.postgres import Cluster
from support.rolling_clients import C, RollingClients
from support.server import serve
from support.several_servers import Common
from support.tiny_bundle import TINY, write_tiny_bundle
from support.version_vectors import VersionVectors

WITHIN_S = 600
VERSIONS = (2, 1, 2)  # after version 1
KINDS = ("embed", "classify", "search", "add")


@contextmanager
def clients_of(folder: Path, n: int) -> Iterator[tuple[httpx.Client, RollingClients]]:
    """Serve version 1, with clients that use it until the end of the block."""
    repo = folder / "model_repo"
    write_tiny_bundle(repo)
    share = {"diptych.core.rollout.pacing.MIN_SHARE": 0.5}
    with (
        serve(repo, TINY, folder / "data", "--rollout", "manual", constants=share) as server,
        httpx.Client(base_url=server.url) as http,
    ):
        write_tiny_bundle(repo, seed=1)
        expected = {version: VersionVectors(repo, TINY, version) for version in (1, 2)}
        clients = RollingClients([server.url], n, expected)
        try:
            yield http, clients
        finally:
            clients.end()


def activate(http: httpx.Client, clients: RollingClients, version: int) -> None:
    """Activate a version and wait until it is active."""
    answer = http.post(f"/models/{TINY}/versions/{version}/activate")
    assert answer.status_code == 202, answer.text
    path, deadline = answer.headers["Location"], time.monotonic() + WITHIN_S
    while (rollout := http.get(path).json())["state"] != "active":
        assert rollout["finished_at"] is None, rollout
        assert time.monotonic() < deadline, rollout
        clients.check()
        time.sleep(0.02)


def wait_for(clients: RollingClients, version: int, n_each: int) -> None:
    """Wait until the clients have had so many more answers of each kind by this version."""
    counts = clients.counts.by_kind
    wanted = {kind: counts[kind, version] + n_each for kind in KINDS}
    while any(counts[kind, version] < n for kind, n in wanted.items()):
        clients.check()
        time.sleep(0.02)


def roll_over(folder: Path, *, n_each: int, n_clients: int) -> None:
    with clients_of(folder, n_clients) as (http, clients):
        wait_for(clients, 1, n_each)
        for version in VERSIONS:
            activate(http, clients, version)
            wait_for(clients, version, n_each)


def test_clients_do_not_notice_that_versions_change(tmp_path: Path) -> None:
    roll_over(tmp_path, n_each=10, n_clients=4)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_sixty_four_clients_do_not_notice_that_versions_change(tmp_path: Path) -> None:
    roll_over(tmp_path, n_each=1_000, n_clients=64)


def roll_over_servers(folder: Path, url: str, *, n_servers: int, n_each: int, n_clients: int) -> None:
    """As `roll_over`, by several servers of one database, each of which is asked to activate in turn."""
    repo = folder / "model_repo"
    write_tiny_bundle(repo)
    write_tiny_bundle(repo, seed=1)
    share = {"diptych.core.rollout.pacing.MIN_SHARE": 0.5}
    common = Common(repo, url, folder)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                common.replica(f"data{n}", "--rollout", "manual", "--version", "1", constants=share)
            )
            for n in range(n_servers)
        ]
        expected = {version: VersionVectors(repo, TINY, version) for version in (1, 2)}
        clients = RollingClients([one.server.url for one in servers], n_clients, expected)
        try:
            wait_for(clients, 1, n_each)
            for n, version in enumerate(VERSIONS, 1):
                activate(servers[n % n_servers].client, clients, version)
                wait_for(clients, version, n_each)
        finally:
            clients.end()
        images = {one.n_images(C) for one in servers}
        assert images == {len(clients.images.required())}


def test_clients_of_two_servers_do_not_notice_that_versions_change(
    tmp_path: Path, postgres_cluster: Cluster
) -> None:
    roll_over_servers(tmp_path, postgres_cluster.url(), n_servers=2, n_each=6, n_clients=4)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_clients_of_three_servers_do_not_notice_that_versions_change(
    tmp_path: Path, postgres_cluster: Cluster
) -> None:
    roll_over_servers(tmp_path, postgres_cluster.url(), n_servers=3, n_each=300, n_clients=24)
