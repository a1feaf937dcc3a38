"""Several servers on one database keep what any of them acknowledged, and all know it, whoever is killed."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from support.callers import wait_until
from support.fixtures import model_repo_fixture
from support.object_store import Fault, Store, store
from support.pictures import noise
from support.postgres import Cluster, cluster
from support.several_servers import Common, Replica

model_repo = model_repo_fixture({})
UNSURE = (httpx.TransportError, AssertionError)  # no answer, or 503 in place of one


@pytest.fixture(scope="module")
def durable() -> Iterator[Cluster]:
    """Run a server whose commits are on the disk."""
    with cluster(is_durable=True) as one:
        yield one


class Load:
    """Adds and deletes pictures by each server, and asks the others at once for what was acknowledged."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.replicas = replicas
        self.kept, self.deleted = set[str](), set[str]()
        self.wrong = list[str]()
        self.killed = set[str]()  # addresses
        self.stops = threading.Event()
        self._numbers = iter(range(1_000_000))
        self._lock = threading.Lock()

    def run(self, own: int, seed: int) -> None:
        """Write by one server until it is killed, or all is stopped."""
        rng, replica = random.Random(seed), self.replicas[own]
        while not self.stops.is_set() and replica.server.url not in self.killed:
            with self._lock:
                id = f"i{next(self._numbers)}"
            try:
                replica.add("pets", (id, noise(seed * 10_000 + len(self.kept))), kind=id)
            except UNSURE:
                continue
            self.kept.add(id)
            self._ask(rng, id, is_there=True)
            if rng.random() < 0.3:
                self._delete(rng, replica)

    def _delete(self, rng: random.Random, replica: Replica) -> None:
        """Delete one of the pictures. Whether it is there is not known if there is no answer."""
        with self._lock:
            id = rng.choice(sorted(self.kept))
            self.kept.discard(id)
        with suppress(httpx.TransportError):
            if replica.client.delete(f"/collections/pets/images/{id}").status_code == 204:
                self.deleted.add(id)
                self._ask(rng, id, is_there=False)

    def _ask(self, rng: random.Random, id: str, *, is_there: bool) -> None:
        """Ask a server for a picture, by a filter or among all."""
        other = rng.choice(self.replicas)
        search = {"filter": {"kind": id}} if rng.random() < 0.5 else {}
        try:
            found = other.find("pets", k=1_000, **search)
        except UNSURE:
            return
        if (id in found) != is_there and (id in self.kept or not is_there):  # else it is deleted meanwhile
            self.wrong.append(f"{id} is {'missing' if is_there else 'found'} by {other.server.url}, {search}")


def disturbed(
    common: Common, durable: Cluster, n_rounds: int, disturb: Callable[[], None] = lambda: None
) -> None:
    """Write by three servers while one is killed and started again, and the database too, in turns.

    `disturb` is called after each round.
    """
    with ExitStack() as stack, ThreadPoolExecutor(max_workers=3) as pool:
        load = Load([stack.enter_context(common.replica(f"data{n}")) for n in range(3)])
        assert load.replicas[0].client.post("/collections", json={"name": "pets"}).status_code == 201
        running: list[Future[None]] = [pool.submit(load.run, n, n) for n in range(3)]
        try:
            for n_round in range(n_rounds):
                written_more(load, 10)
                victim = n_round % 3
                load.replicas[victim].server.stop(signal.SIGKILL)
                load.killed.add(load.replicas[victim].server.url)
                running[victim].result()
                written_more(load, 10)
                load.replicas[victim] = stack.enter_context(common.replica(f"data{victim}"))
                running[victim] = pool.submit(load.run, victim, 3 + n_round)
                written_more(load, 10)
                durable.stop("immediate")
                durable.start()
                written_more(load, 10)
                disturb()
                written_more(load, 10)
        finally:
            load.stops.set()
        for one in running:
            one.result()
        assert load.wrong == []
        found = [sorted(replica.find("pets", k=1_000)) for replica in load.replicas]
        assert found[0] == found[1] == found[2]
        assert load.kept <= set(found[0])
        assert load.deleted.isdisjoint(found[0])
        assert {replica.n_images("pets") for replica in load.replicas} == {len(found[0])}
        client = load.replicas[0].client
        originals = [client.get(f"/collections/pets/images/{id}/original") for id in found[0]]
        assert {one.status_code for one in originals} == {200}


def written_more(load: Load, n: int) -> None:
    """Wait until more pictures were acknowledged."""
    before = len(load.kept) + 2 * len(load.deleted)
    wait_until(lambda: len(load.kept) + 2 * len(load.deleted) >= before + n, within_s=60)


def test_three_servers_lose_nothing_and_agree_while_servers_and_the_database_are_killed(
    model_repo: Path, durable: Cluster, tmp_path: Path
) -> None:
    disturbed(Common(model_repo, durable.url(), tmp_path), durable, n_rounds=1)


def test_nor_do_servers_whose_object_store_fails_too(
    model_repo: Path, durable: Cluster, tmp_path: Path
) -> None:
    def fail(objects: Store) -> None:
        faults: tuple[Fault, ...] = ("500", "403")
        for fault in faults:
            objects.fault = fault
            time.sleep(0.5)
        objects.fault = None

    with store() as objects:
        bucket, environment = f"s3://{objects.bucket()}", objects.environment
        common = Common(model_repo, durable.url(), tmp_path, bucket, environment)
        disturbed(common, durable, n_rounds=1, disturb=lambda: fail(objects))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_rounds_of_kills(model_repo: Path, durable: Cluster, tmp_path: Path) -> None:
    disturbed(Common(model_repo, durable.url(), tmp_path), durable, n_rounds=10)
