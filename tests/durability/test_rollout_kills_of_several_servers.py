"""Several servers on one database move between versions while they write, and whoever is killed meanwhile.

No acknowledged write is lost, and no answer is mixed: the cosines of each are those of the version it names.
"""

import random
import signal
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from support.callers import wait_until
from support.nginx import free_port, needs_nginx, nginx
from support.pictures import noise
from support.postgres import Cluster
from support.several_servers import Caller, Common, Replica
from support.tiny_bundle import TINY, write_tiny_bundle
from support.version_vectors import VersionVectors
from support.writing_servers import UNSURE, Load, written_more

N_SERVERS, TOLERANCE = 3, 2e-5
SOON = {"diptych.core.rollout.pacing.MIN_SHARE": 0.5}
DISTURBANCES_OF_DATABASE = {"database": Cluster.crash, "connection": Cluster.kill_connection}


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
        self._cosines = dict[tuple[int, str], float]()
        self.n_answers = Counter[int]()  # by the version that they name

    def found(self, caller: Caller, **search: object) -> list[str]:
        """The ids that a search finds; their cosines are checked."""
        answer = caller.search("pets", k=1_000, **search)
        version = answer["model"]["version"]
        self.n_answers[version] += 1
        for hit in answer["hits"]:
            wanted = self._cosine(version, hit["id"])
            if abs(hit["cosine"] - wanted) > TOLERANCE:
                self.wrong.append(f"{hit} is not of version {version}: {wanted}")
        return [hit["id"] for hit in answer["hits"]]

    def _cosine(self, version: int, id: str) -> float:
        if (version, id) not in self._cosines:
            vectors = self._versions[version]
            cosine = float(vectors.text("red") @ vectors.image(noise(self.numbers[id])))
            self._cosines[version, id] = cosine
        return self._cosines[version, id]


class Servers:
    """The servers, with a writer by each and `n_clients` by an nginx before them, and what disturbs them."""

    def __init__(self, common: Common, stack: ExitStack, n_clients: int) -> None:
        self._common, self._stack = common, stack
        self._pool = stack.enter_context(ThreadPoolExecutor(max_workers=N_SERVERS + n_clients))
        # An address of its own each, on which nothing else takes the port while its server is away.
        hosts = [f"127.0.0.{2 + n}" for n in range(N_SERVERS)]
        self._addresses = [(host, str(free_port(host))) for host in hosts]
        versions = {version: VersionVectors(common.model_repo, TINY, version) for version in (1, 2)}
        self.load = RollingLoad([self._started(n) for n in range(N_SERVERS)], versions)
        self._seeds = iter(range(1_000_000))
        made = self.load.replicas[0].client.post("/collections", json={"name": "pets"})
        assert made.status_code == 201, made.text
        callers = self._callers_of_proxy(n_clients)
        self.writers = [self._writer(replica) for replica in self.load.replicas]
        self.clients = [self._writer(caller) for caller in callers]

    def activate(self, version: int, asked: int) -> None:
        """Activate a version on one server; it may be out of reach of the database for a moment."""

        def is_begun() -> bool:
            try:
                self.load.replicas[asked].ask("POST", f"/models/{TINY}/versions/{version}/activate")
            except UNSURE:
                return False
            return True

        wait_until(is_begun, within_s=60)

    def kill(self, n: int) -> None:
        """Kill a server."""
        self.load.killed.add(self.load.replicas[n])
        self.load.replicas[n].server.stop(signal.SIGKILL)
        self.writers[n].result()

    def start_again(self, n: int) -> None:
        """Start a server that was killed."""
        self.load.replicas[n] = self._started(n)
        self.writers[n] = self._writer(self.load.replicas[n])

    def require_version(self, version: int, *, without: int | None = None) -> None:
        """Wait until all servers but one answer with a version."""
        for n, replica in enumerate(self.load.replicas):
            if n != without:
                wait_until(lambda replica=replica: _active(replica) == version, within_s=60)  # type: ignore[misc]

    def end(self) -> None:
        """Stop writing; all servers have what was acknowledged."""
        self.load.stops.set()
        for one in [*self.writers, *self.clients]:
            one.result()
        load = self.load
        found = [sorted(load.found(replica)) for replica in load.replicas]
        assert load.wrong == []
        assert found == [found[0]] * N_SERVERS
        assert load.kept <= set(found[0])
        assert load.deleted.isdisjoint(found[0])
        assert {replica.n_images("pets") for replica in load.replicas} == {len(found[0])}

    def _started(self, n: int) -> Replica:
        host, port = self._addresses[n]
        flags = ("--rollout", "manual", "--version", "1", "--insecure", "--host", host, "--port", port)
        return self._stack.enter_context(self._common.replica(f"data{n}", *flags, constants=SOON))

    def _callers_of_proxy(self, n: int) -> list[Caller]:
        if not n:
            return []
        address = self._stack.enter_context(nginx(self._common.folder, *map(":".join, self._addresses)))
        clients = [httpx.Client(base_url=f"http://{address}", timeout=60) for _ in range(n)]
        return [Caller(self._stack.enter_context(client)) for client in clients]

    def _writer(self, caller: Caller) -> Future[None]:
        return self._pool.submit(self.load.run, caller, next(self._seeds))


def _active(replica: Replica) -> int | None:
    try:
        return replica.active_version()
    except UNSURE:
        return None


def rolled(
    common: Common, database: Cluster, disturbances: list[str], rng: random.Random, n_clients: int = 0
) -> RollingLoad:
    """Move between the versions, each time with one disturbance in the middle."""
    with ExitStack() as stack:
        servers = Servers(common, stack, n_clients)
        oldest, version = list(range(N_SERVERS)), 1
        try:
            for disturbance in disturbances:
                written_more(servers.load, 10)
                version = 3 - version
                servers.activate(version, rng.randrange(N_SERVERS))
                servers.load.stops.wait(rng.uniform(0.0, 1.5))
                if disturbance in DISTURBANCES_OF_DATABASE:
                    DISTURBANCES_OF_DATABASE[disturbance](database)
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
        return servers.load


def test_three_servers_lose_and_mix_nothing_while_versions_change_and_one_is_killed(
    common: Common,
    durable: Cluster,
) -> None:
    rolled(common, durable, ["oldest", "newest", "database"], random.Random(1))


@needs_nginx
def test_clients_of_a_proxy_miss_and_mix_nothing_either(common: Common, durable: Cluster) -> None:
    rolled(common, durable, ["newest", "connection"], random.Random(2), n_clients=8)


@needs_nginx
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_nor_do_thirty_two_whatever_is_killed(common: Common, durable: Cluster) -> None:
    disturbances = ["oldest", "connection", "newest", "database"]
    load = rolled(common, durable, 2 * disturbances, random.Random(3), n_clients=32)
    assert min(load.n_answers.values()) > 500


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(3))
def test_many_changes_of_versions_with_kills(common: Common, durable: Cluster, seed: int) -> None:
    rng = random.Random(seed)
    rolled(common, durable, rng.choices(["oldest", "newest", *DISTURBANCES_OF_DATABASE], k=12), rng)
