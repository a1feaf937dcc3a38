"""Several servers on one PostgreSQL database: what one acknowledges, all of them answer with."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from socket import gethostname
from typing import Any

import httpx
import pytest

from support.callers import wait_until
from support.fixtures import model_repo_fixture
from support.pictures import noise, picture
from support.postgres import Cluster
from support.several_servers import Common, Replica
from support.tars import tar_of
from support.tiny_bundle import TINY

model_repo = model_repo_fixture({}, {"seed": 1})


@pytest.fixture(scope="module")
def common(model_repo: Path, postgres_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Common:
    return Common(model_repo, postgres_cluster.url(), tmp_path_factory.mktemp("common"))


@pytest.fixture(scope="module")
def two(common: Common) -> Iterator[list[Replica]]:
    with common.replicas(2) as found:
        yield found


@pytest.fixture
def pets(two: list[Replica]) -> Iterator[str]:
    """Make a collection on the first server; drop it on the second one."""
    one, other = (replica.client for replica in two)
    assert one.post("/collections", json={"name": "pets"}).status_code == 201
    yield "pets"
    assert other.delete("/collections/pets").status_code in {204, 404}
    assert one.get("/collections/pets").status_code == 404


def test_images_that_one_server_adds_changes_and_deletes_are_so_on_the_other_one(
    two: list[Replica], pets: str
) -> None:
    one, other = two
    one.add(pets, ("a", picture("red")), ("b", picture("blue")))
    assert sorted(other.find(pets)) == ["a", "b"]
    other.add(pets, *((f"n{i}", noise(i)) for i in range(5)))
    assert (len(one.find(pets)), one.n_images(pets), other.n_images(pets)) == (7, 7, 7)
    assert one.find(pets, filter={"kind": "new"}) == []
    other.add(pets, ("a", noise(9)), kind="new", replace=True)
    assert one.find(pets, filter={"kind": "new"}) == ["a"]
    assert one.client.get("/collections/pets/images/a/original").content == noise(9)
    assert (
        other.client.patch("/collections/pets/images/b", json={"metadata": {"kind": "new"}}).status_code
        == 200
    )
    assert sorted(one.find(pets, filter={"kind": "new"})) == ["a", "b"]
    assert one.client.delete("/collections/pets/images/b").status_code == 204
    assert (len(other.find(pets)), other.n_images(pets)) == (6, 6)
    assert other.client.get("/collections/pets/images/b").status_code == 404


def test_collections_that_one_server_makes_and_renames_are_so_on_the_other_one(
    two: list[Replica], pets: str
) -> None:
    one, other = two
    one.add(pets, ("a", picture("red")))
    changed = other.client.patch("/collections/pets", json={"name": "animals", "keep": "none"})
    assert changed.status_code == 200, changed.text
    (mine, others) = (replica.client.get("/collections/animals").json() for replica in two)
    assert mine | {"load_s": None} == others | {"load_s": None}
    assert one.client.get("/collections/pets").status_code == 404
    assert one.client.post("/collections", json={"name": "pets"}).status_code == 201
    other.add(pets, ("b", picture("blue")))
    assert other.client.delete("/collections/animals").status_code == 204
    assert (one.find(pets), one.client.get("/collections/animals").status_code) == (["b"], 404)
    found = one.client.post("/search", json={"query": {"text": "red"}, "collections": ["*"]}).json()
    assert [hit["id"] for hit in found["hits"]] == ["b"]


def test_label_sets_and_reviewed_labels_are_common(two: list[Replica], pets: str) -> None:
    one, other = (replica.client for replica in two)
    two[0].add(pets, ("a", picture("red")))
    assert one.put("/collections/pets/label-sets/kind", json={"labels": ["red", "blue"]}).status_code < 300
    found = other.post(
        "/search",
        json={
            "query": {"text": "x"},
            "collections": [pets],
            "filter": {"label": {"set": "kind", "in": ["red"]}},
        },
    )
    assert [hit["id"] for hit in found.json()["hits"]] == ["a"]
    two[1].add(pets, ("b", picture("red", size=(20, 20))))
    assert one.get("/collections/pets/label-sets/kind").json()["counts"][0] == {"label": "red", "n": 2}


def test_job_is_run_by_its_server_and_seen_and_cancelled_on_the_other_one(
    two: list[Replica], pets: str
) -> None:
    one, other = (replica.client for replica in two)

    def accepted(n: int) -> str:
        archive = tar_of({f"{i}.png": noise(i) for i in range(n)})
        headers = {"content-type": "application/x-tar"}
        job = one.post("/collections/pets/images", content=archive, headers=headers)
        assert job.status_code == 202, job.text
        return str(job.json()["id"])

    done = accepted(20)
    wait_until(lambda: other.get(f"/jobs/{done}").json()["state"] == "done")
    assert two[1].n_images(pets) == 20
    cancelled = accepted(400)
    assert other.delete(f"/jobs/{cancelled}").json()["state"] == "cancelled"
    wait_until(lambda: one.get(f"/jobs/{cancelled}").json()["state"] == "cancelled")
    assert two[0].n_images(pets) == two[1].n_images(pets) == len(two[1].find(pets, k=1_000))


def test_job_of_a_server_that_is_gone_says_so_goes_on_with_it_and_ends_without_it(
    model_repo: Path, postgres_cluster: Cluster, tmp_path: Path
) -> None:
    common = Common(model_repo, postgres_cluster.url(), tmp_path)
    with common.replica("one", constants={"diptych.core.jobs.others.GONE_S": 4.0}) as one:

        def shown() -> dict[str, Any]:
            found: dict[str, Any] = one.client.get(f"/jobs/{job}").json()
            return found

        with common.replica("other") as other:
            archive = tar_of({f"{i}.png": noise(i) for i in range(1_500)})
            headers = {"content-type": "application/x-tar"}
            accepted = other.client.post("/collections/default/images", content=archive, headers=headers)
            job = accepted.json()["id"]
            wait_until(lambda: shown()["state"] == "running")
            other.server.stop(signal.SIGKILL)
        wait_until(lambda: "is gone (diptych " in shown()["reason"])
        assert shown()["state"] == "queued"
        n_before = shown()["n_done"]
        with common.replica("other") as other:
            wait_until(lambda: shown()["state"] == "running" and shown()["n_done"] > n_before)
            other.server.stop(signal.SIGKILL)
        wait_until(lambda: shown()["state"] == "failed")
        assert "the server that ran it is gone" in shown()["reason"]
        assert n_before < shown()["n_done"] == one.n_images("default") < 1_500
        with common.replica("other") as other:
            assert other.client.get(f"/jobs/{job}").json()["state"] == "failed"
            assert not list((common.folder / "other" / "jobs").iterdir())


def moved(replicas: list[Replica], by: Replica, version: int) -> dict[str, Any]:
    """Activate a version on one server; return the rollout once all servers answer with it."""
    started = by.client.post(f"/models/{TINY}/versions/{version}/activate")
    assert started.status_code == 202, started.text
    for replica in replicas:
        wait_until(lambda replica=replica: replica.rollout(started.json()["id"])["state"] == "active")  # type: ignore[misc]
    assert [replica.active_version() for replica in replicas] == [version] * len(replicas)
    return by.rollout(started.json()["id"])


def test_all_servers_move_to_another_version_and_back_whichever_is_asked(
    two: list[Replica], pets: str
) -> None:
    one, other = two
    one.add(pets, ("a", picture("red")), ("b", picture("blue")))
    for by, version in ((other, 1), (one, 2), (one, 1), (other, 2)):
        moved(two, by, version)
        by.add(pets, (f"n{version}", noise(version)), replace=True)
        assert sorted(one.find(pets)) == sorted(other.find(pets))
        assert one.cosines(pets) == pytest.approx(other.cosines(pets), abs=1e-5)
    assert sorted(one.find(pets)) == ["a", "b", "n1", "n2"]


def test_server_alone_moves_to_another_version_and_others_start_with_it(
    model_repo: Path, postgres_cluster: Cluster, tmp_path: Path
) -> None:
    common = Common(model_repo, postgres_cluster.url(), tmp_path)
    with common.replica("one", "--rollout", "manual", "--version", "2") as one:
        one.client.post("/collections", json={"name": "pets"})
        one.add("pets", ("a", picture("red")))
        assert one.client.post(f"/models/{TINY}/versions/1/activate").status_code == 202
        wait_until(lambda: one.active_version() == 1)
        with common.replica("other", "--version", "2") as other:
            assert other.active_version() == 1
            assert other.find("pets") == one.find("pets") == ["a"]
            assert any("--version 2 is not followed" in line["message"] for line in other.server.log())


def test_metrics_tell_of_the_database_and_its_servers(two: list[Replica], pets: str) -> None:
    two[0].add(pets, ("a", picture("red")))
    for replica in two:
        lines = replica.client.get("/metrics").text.splitlines()
        assert "diptych_database_available 1.0" in lines
        assert "diptych_database_servers 2.0" in lines
        assert "diptych_database_outages_total 0.0" in lines
        assert any(line.startswith('diptych_database_connections{state="open"} ') for line in lines)


def test_database_shows_who_is_connected_and_which_write_each_knows(
    two: list[Replica], pets: str, postgres_cluster: Cluster
) -> None:
    two[0].add(pets, ("a", picture("red")))
    (known,) = [
        int(float(line.split()[1]))
        for line in two[0].client.get("/metrics").text.splitlines()
        if line.startswith("diptych_database_write ")
    ]
    names = [f"diptych {gethostname()[:32]}:{httpx.URL(one.server.url).port}" for one in two]

    def shown() -> dict[str, int]:
        query = "SELECT split_part(application_name, ' at ', 1), split_part(application_name, ' at ', 2)"
        found = postgres_cluster.execute(
            f"{query} FROM pg_stat_activity WHERE application_name LIKE '% at %'"
        )
        return {name: int(write) for name, write in found}

    wait_until(lambda: all(shown().get(name, 0) >= known for name in names))


def test_outage_of_one_server_hinders_no_other(common: Common, two: list[Replica], pets: str) -> None:
    with common.replica("third") as third:
        third.add(pets, ("a", picture("red")))
        third.server.stop(signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            third.client.get("/readyz")
    assert [replica.find(pets) for replica in two] == [["a"], ["a"]]


def test_server_that_fell_far_behind_reads_everything_anew(
    model_repo: Path, postgres_cluster: Cluster, tmp_path: Path
) -> None:
    common = Common(model_repo, postgres_cluster.url(), tmp_path)
    few = {"diptych.adapters.postgres.writes.N_KEPT": 3, "diptych.adapters.postgres.writes.PRUNE_EVERY": 1}
    with common.replica("one", constants=few) as one, common.replica("other", constants=few) as other:
        one.add("default", ("a", picture("red")), ("b", picture("blue")))
        assert sorted(other.find("default")) == ["a", "b"]
        other.server.process.send_signal(signal.SIGSTOP)
        for n in range(6):
            one.add("default", (f"n{n}", noise(n)))
        one.client.delete("/collections/default/images/b")
        one.client.post("/collections", json={"name": "pets"})
        one.add("pets", ("c", picture("red")))
        other.server.process.send_signal(signal.SIGCONT)
        assert sorted(other.find("default")) == ["a", *(f"n{n}" for n in range(6))]
        assert (other.n_images("default"), other.find("pets"), other.n_images("pets")) == (7, ["c"], 1)
        assert any("too much" in line["message"] for line in other.server.log())
        one.add("default", ("d", noise(9)))
        assert (len(other.find("default")), other.n_images("default")) == (8, 8)


def test_next_server_does_what_the_killed_one_did_for_all(
    model_repo: Path, postgres_cluster: Cluster, tmp_path: Path
) -> None:
    common = Common(model_repo, postgres_cluster.url(), tmp_path)
    soon = {"diptych.core.collections.registry.LOOK_S": 0.05}
    with common.replica("one") as one, common.replica("other", constants=soon) as other:
        one.add("default", ("a", picture("red")))
        (used,) = common.originals.glob("images/*/*")
        unused = common.originals / "images" / "ff" / ("f" * 64)
        unused.parent.mkdir(exist_ok=True)
        unused.write_bytes(b"of an add that failed")
        for file in (used, unused):
            os.utime(file, (1, 1))
        one.server.stop(signal.SIGKILL)
        wait_until(lambda: not unused.exists())
        assert other.client.get("/collections/default/images/a/original").content == picture("red")
