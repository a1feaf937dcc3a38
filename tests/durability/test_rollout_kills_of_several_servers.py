"""Several servers on one database move between versions while they write, and whoever is killed meanwhile.

No acknowledged write is lost, and no answer is mixed: the cosines of each are those of the version it names.
"""

import random
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.callers import wait_until
from support.pictures import noise
from support.postgres import Cluster
from support.several_servers import Common, Replica
from support.tiny_bundle import TINY, write_tiny_bundle
from support.version_vectors import VersionVectors
from support.writing_servers import UNSURE, Load, written_more

N_SERVERS, TOLERANCE = 3, 2e-5
SOON = {"diptych.core.rollout.pacing.MIN_SHARE": 0.5}


@pytest.fixture
def common(durable: Cluster, tmp_path: Path) -> Common:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    write_tiny_bundle(repo, seed=1)
    return Common(repo, durable.url(), tmp_path)


class RollingLoad(Load):
    """As Load, and compares the cosines of each search with those of the version that its answer names."""

    def __init__(self, replicas: list[Replica], versions: dict[int, VersionVectors]) -> None:
        super().__init__(replicas)
        self._versions = versions

    def found(self, replica: Replica, **search: Any) -> list[str]:
        """The ids that a search finds; their cosines are checked."""
        request = {"query": {"text": "red"}, "collections": ["pets"], "k": 1_000, **search}
        answer = replica.client.post("/search", json=request)
        assert answer.status_code == 200, answer.text
        version = answer.json()["model"]["version"]
        vectors = self._versions[version]
        for hit in answer.json()["hits"]:
            wanted = float(vectors.text("red") @ vectors.image(noise(self.numbers[hit["id"]])))
            if abs(hit["cosine"] - wanted) > TOLERANCE:
                self.wrong.append(f"{hit} is not of version {version}: {wanted}")
        return [hit["id"] for hit in answer.json()["hits"]]


class Servers:
    """The servers, with a writer by each, and what disturbs them."""

    def __init__(self, common: Common, database: Cluster, stack: ExitStack, pool: ThreadPoolExecutor) -> None:
        self._common, self._database, self._stack, self._pool = common, database, stack, pool
        versions = {version: VersionVectors(common.model_repo, TINY, version) for version in (1, 2)}
        self.load = RollingLoad([self._started(n) for n in range(N_SERVERS)], versions)
        self._seeds = iter(range(1_000_000))
        made = self.load.replicas[0].client.post("/collections", json={"name": "pets"})
        assert made.status_code == 201, made.text
        self.writers: list[Future[None]] = [self._writer(n) for n in range(N_SERVERS)]

    def activate(self, version: int, asked: int) -> None:
        """Activate a version on one server; it may be out of reach of the database for a moment."""

        def is_begun() -> bool:
            client = self.load.replicas[asked].client
            return client.post(f"/models/{TINY}/versions/{version}/activate").status_code in {200, 202}

        wait_until(is_begun, within_s=60)

    def kill(self, n: int) -> None:
        """Kill a server."""
        self.load.killed.add(self.load.replicas[n].server.url)
        self.load.replicas[n].server.stop(signal.SIGKILL)
        self.writers[n].result()

    def start_again(self, n: int) -> None:
        """Start a server that was killed."""
        self.load.replicas[n] = self._started(n)
        self.writers[n] = self._writer(n)

    def restart_database(self) -> None:
        """As after a crash."""
        self._database.stop("immediate")
        self._database.start()

    def require_version(self, version: int, *, without: int | None = None) -> None:
        """Wait until all servers but one answer with a version."""
        for n, replica in enumerate(self.load.replicas):
            if n != without:
                wait_until(lambda replica=replica: _active(replica) == version, within_s=60)  # type: ignore[misc]

    def end(self) -> None:
        """Stop writing; all servers have what was acknowledged."""
        self.load.stops.set()
        for one in self.writers:
            one.result()
        load = self.load
        found = [sorted(load.found(replica)) for replica in load.replicas]
        assert load.wrong == []
        assert found == [found[0]] * N_SERVERS
        assert load.kept <= set(found[0])
        assert load.deleted.isdisjoint(found[0])
        assert {replica.n_images("pets") for replica in load.replicas} == {len(found[0])}

    def _started(self, n: int) -> Replica:
        flags = ("--rollout", "manual", "--version", "1")
        return self._stack.enter_context(self._common.replica(f"data{n}", *flags, constants=SOON))

    def _writer(self, n: int) -> Future[None]:
        return self._pool.submit(self.load.run, n, next(self._seeds))


def _active(replica: Replica) -> int | None:
    try:
        return replica.active_version()
    except (*UNSURE, httpx.HTTPError, KeyError):
        return None


def rolled(common: Common, database: Cluster, disturbances: list[str], rng: random.Random) -> None:
    """Move between the versions, each time with one disturbance in the middle."""
    with ExitStack() as stack, ThreadPoolExecutor(max_workers=N_SERVERS) as pool:
        servers = Servers(common, database, stack, pool)
        oldest, version = list(range(N_SERVERS)), 1
        try:
            for disturbance in disturbances:
                written_more(servers.load, 10)
                version = 3 - version
                servers.activate(version, rng.randrange(N_SERVERS))
                servers.load.stops.wait(rng.uniform(0.0, 1.5))
                if disturbance == "database":
                    servers.restart_database()
                    servers.require_version(version)
                    continue
                victim = oldest.pop(0 if disturbance == "oldest" else -1)
                servers.kill(victim)
                servers.require_version(version, without=victim)
                servers.start_again(victim)
                oldest.append(victim)
                servers.require_version(version)
            written_more(servers.load, 10)
        finally:
            servers.load.stops.set()
        servers.end()


def test_three_servers_lose_and_mix_nothing_while_versions_change_and_one_is_killed(
    common: Common,
    durable: Cluster,
) -> None:
    rolled(common, durable, ["oldest", "newest", "database"], random.Random(1))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(3))
def test_many_changes_of_versions_with_kills(common: Common, durable: Cluster, seed: int) -> None:
    rng = random.Random(seed)
    rolled(common, durable, rng.choices(["oldest", "newest", "database"], k=12), rng)
