"""`diptych serve --read-only` with `DIPTYCH_STORE`: it follows the servers that write, and writes nothing."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from support.callers import wait_until
from support.pictures import noise, picture
from support.postgres import SUPERUSER, Cluster, cluster
from support.server import start
from support.several_servers import Common, Replica
from support.tiny_bundle import TINY, write_tiny_bundle

READER = "diptych_reader"
SOON = {"diptych.core.rollout.join.RETRY_S": 0.2}


@pytest.fixture
def common(postgres_cluster: Cluster, tmp_path: Path) -> Common:
    """Servers whose model repository has two versions."""
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    write_tiny_bundle(repo, seed=1)
    return Common(repo, postgres_cluster.url(), tmp_path)


@pytest.fixture
def writer(common: Common) -> Iterator[Replica]:
    with common.replica("writer", "--rollout", "manual", "--version", "1") as one:
        yield one


def reader_of(common: Common, *more: str, name: str = "reader") -> AbstractContextManager[Replica]:
    """A read-only server."""
    return common.replica(name, "--read-only", *more, constants=SOON)


def as_reader(common: Common, postgres: Cluster) -> Common:
    """The same servers with a role of the database that can only read."""
    if not postgres.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{READER}'"):
        postgres.execute(f"CREATE ROLE {READER} LOGIN IN ROLE pg_read_all_data")
    return replace(common, url=common.url.replace(f"{SUPERUSER}@", f"{READER}@"))


def activate(by: Replica, version: int) -> None:
    """Move the servers that write to a version."""
    answer = by.client.post(f"/models/{TINY}/versions/{version}/activate")
    assert answer.status_code == 202, answer.text
    wait_until(lambda: by.rollout(answer.json()["id"])["state"] == "active")


def serves(replica: Replica, version: int) -> bool:
    """Whether a server answers by the version; it answers 503 while it loads it."""
    found = replica.client.get("/models")
    return found.status_code == 200 and found.json()["models"][0]["active"] == version


def metric(replica: Replica, name: str) -> float:
    (line,) = [one for one in replica.client.get("/metrics").text.splitlines() if one.startswith(f"{name} ")]
    return float(line.split()[1])


def test_replica_that_may_only_read_answers_with_all_that_is_acknowledged(
    common: Common, writer: Replica, postgres_cluster: Cluster
) -> None:
    writer.add("default", ("a", picture("red")), ("b", picture("blue")))
    labels = {"labels": ["red", "blue"]}
    assert writer.client.put("/collections/default/label-sets/kind", json=labels).status_code < 300
    with reader_of(as_reader(common, postgres_cluster)) as reader:
        files = {one: one.stat().st_mtime_ns for one in common.originals.rglob("*")}
        assert reader.client.get("/version").json()["read_only"] is True
        assert sorted(reader.find("default")) == ["a", "b"]
        assert reader.cosines("default") == pytest.approx(writer.cosines("default"), abs=1e-6)
        for path in ("original", "thumbnail?size=64"):
            assert reader.client.get(f"/collections/default/images/a/{path}").status_code == 200
        counted = reader.client.get("/collections/default/label-sets/kind").json()["counts"]
        assert {one["label"]: one["n"] for one in counted} == {"red": 1, "blue": 1}
        labelled = {"filter": {"label": {"set": "kind", "in": ["red"]}}}
        assert reader.find("default", **labelled) == ["a"]
        for path in ("/collections", "/jobs", "/models", "/rollouts", "/readyz"):
            assert reader.client.get(path).status_code == 200, path
        assert {one: one.stat().st_mtime_ns for one in common.originals.rglob("*")} == files

        writer.add("default", ("c", noise(1)), kind="new")
        assert reader.find("default", filter={"kind": "new"}) == ["c"]
        writer.add("default", ("a", noise(2)), kind="new", replace=True)
        assert writer.client.delete("/collections/default/images/b").status_code == 204
        assert (sorted(reader.find("default")), reader.n_images("default")) == (["a", "c"], 2)
        assert writer.client.post("/collections", json={"name": "pets"}).status_code == 201
        assert reader.find("pets") == []


def test_replica_refuses_every_change_and_is_none_of_those_that_lead(common: Common, writer: Replica) -> None:
    writer.add("default", ("a", picture("red")))
    with reader_of(common) as reader:
        for method, path in (
            ("DELETE", "/collections/default/images/a"),
            ("POST", "/collections/default/images"),
            ("POST", f"/models/{TINY}/versions/2/activate"),
        ):
            refused = reader.client.request(method, path)
            assert (refused.status_code, "read-only" in refused.json()["detail"]) == (403, True), path
        assert metric(reader, "diptych_database_servers") == metric(writer, "diptych_database_servers") == 1.0
    with ExitStack() as stack:  # the read-only one has lived longest
        stack.enter_context(reader_of(common, name="oldest"))
        other = stack.enter_context(common.replica("other", "--rollout", "manual"))
        writer.server.stop()
        activate(other, 2)


def test_replica_moves_with_the_others_which_do_not_wait_for_it(common: Common, writer: Replica) -> None:
    writer.add("default", ("a", picture("red")), ("b", noise(1)))
    poor = replace(common, model_repo=common.folder / "poor_repo")
    shutil.copytree(common.model_repo / TINY / "1", poor.model_repo / TINY / "1")
    with reader_of(common) as whole, reader_of(poor, name="poor") as lacking:
        activate(writer, 2)
        wait_until(lambda: serves(whole, 2))
        assert whole.cosines("default") == pytest.approx(writer.cosines("default"), abs=1e-6)
        search = {"query": {"text": "red"}, "collections": ["default"]}
        assert lacking.client.post("/search", json=search).status_code == 503
        assert "which this one still loads" in lacking.client.get("/readyz").json()["detail"]
        shutil.copytree(common.model_repo / TINY / "2", poor.model_repo / TINY / ".copied")
        (poor.model_repo / TINY / ".copied").rename(poor.model_repo / TINY / "2")
        wait_until(lambda: lacking.client.get("/readyz").status_code == 200)
        writer.add("default", ("c", noise(2)))
        assert lacking.cosines("default") == pytest.approx(writer.cosines("default"), abs=1e-6)
        activate(writer, 1)
        for one in (whole, lacking):
            wait_until(lambda one=one: serves(one, 1))  # type: ignore[misc]
            assert one.cosines("default") == pytest.approx(writer.cosines("default"), abs=1e-6)


def test_replica_of_a_standby_answers_with_what_the_standby_has(
    postgres_cluster: Cluster, common: Common, writer: Replica
) -> None:
    writer.add("default", ("a", picture("red")))
    with cluster(primary=postgres_cluster) as standby:
        schema = common.url.rpartition("%3D")[2]
        address = f"postgresql://{SUPERUSER}@/postgres?host={standby.folder}&options=-csearch_path%3D{schema}"
        wait_until(lambda: bool(standby.execute(f"SELECT 1 FROM {schema}.images WHERE id = 'a'")))
        with reader_of(replace(common, url=address)) as reader:
            assert reader.client.get("/readyz").status_code == 200
            assert reader.find("default") == ["a"]
            writer.add("default", ("b", noise(1)))
            wait_until(lambda: sorted(reader.find("default")) == ["a", "b"])
            activate(writer, 2)
            wait_until(lambda: serves(reader, 2))
            assert reader.cosines("default") == pytest.approx(writer.cosines("default"), abs=1e-6)


def test_database_that_no_server_has_used_is_refused(common: Common) -> None:
    process, log_file = start(
        *(common.model_repo, TINY, common.folder / "reader", *common.flags, "--read-only")
    )
    assert process.wait(timeout=60) == 1
    assert "start a server of this release once that may write" in log_file.read_text()
