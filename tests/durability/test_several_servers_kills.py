"""Several servers on one database keep what any of them acknowledged, and all know it, whoever is killed."""

import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.fixtures import model_repo_fixture
from support.object_store import Fault, Store, store
from support.postgres import Cluster
from support.several_servers import Common
from support.writing_servers import Load, written_more

model_repo = model_repo_fixture({})


def disturbed(
    common: Common, durable: Cluster, n_rounds: int, disturb: Callable[[], None] = lambda: None
) -> None:
    """Write by three servers while one is killed and started again, and the database too, in turns.

    `disturb` is called after each round.
    """
    with ExitStack() as stack, ThreadPoolExecutor(max_workers=3) as pool:
        load = Load([stack.enter_context(common.replica(f"data{n}")) for n in range(3)])
        assert load.replicas[0].client.post("/collections", json={"name": "pets"}).status_code == 201
        running: list[Future[None]] = [pool.submit(load.run, load.replicas[n], n) for n in range(3)]
        try:
            for n_round in range(n_rounds):
                written_more(load, 10)
                victim = n_round % 3
                load.replicas[victim].server.stop(signal.SIGKILL)
                load.killed.add(load.replicas[victim])
                running[victim].result()
                written_more(load, 10)
                load.replicas[victim] = stack.enter_context(common.replica(f"data{victim}"))
                running[victim] = pool.submit(load.run, load.replicas[victim], 3 + n_round)
                written_more(load, 10)
                durable.crash()
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
