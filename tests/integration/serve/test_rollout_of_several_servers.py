"""Several servers on one database move to another version at once: who runs it, and who is waited for."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from support.callers import wait_until
from support.pictures import noise, picture
from support.postgres import Cluster
from support.several_servers import Common, Replica
from support.tiny_bundle import TINY, write_tiny_bundle

SOON = {"diptych.core.rollout.join.RETRY_S": 0.2, "diptych.adapters.postgres.threads.COME_BACK_S": 1.0}


@pytest.fixture
def whole(postgres_cluster: Cluster, tmp_path: Path) -> Common:
    """Servers whose model repository has two versions."""
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    write_tiny_bundle(repo, seed=1)
    return Common(repo, postgres_cluster.url(), tmp_path)


@pytest.fixture
def poor(whole: Common, tmp_path: Path) -> Common:
    """Servers of the same database whose model repository has the first version alone."""
    shutil.copytree(whole.model_repo / TINY / "1", tmp_path / "poor_repo" / TINY / "1")
    return replace(whole, model_repo=tmp_path / "poor_repo")


@pytest.fixture
def oldest(whole: Common) -> Iterator[Replica]:
    """Run the server that has lived longest, with two images."""
    with started(whole, "oldest") as one:
        one.add("default", ("a", picture("red")), ("b", noise(1)))
        yield one


def started(common: Common, name: str, **more: float) -> AbstractContextManager[Replica]:
    return common.replica(name, "--rollout", "manual", "--version", "1", constants=SOON | more)


def begun(by: Replica, version: int = 2) -> str:
    """Activate a version; return the id of the rollout."""
    answer = by.client.post(f"/models/{TINY}/versions/{version}/activate")
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def wait_for(replica: Replica, rollout: str, state: str = "active", reason: str = "") -> None:
    wait_until(
        lambda: replica.rollout(rollout)["state"] == state and reason in replica.rollout(rollout)["reason"]
    )


def give_version(common: Common, source: Common) -> None:
    """Copy the second version into another model repository."""
    copied = common.model_repo / TINY / ".copied"
    shutil.copytree(source.model_repo / TINY / "2", copied)
    copied.rename(common.model_repo / TINY / "2")


def require_same(*replicas: Replica, version: int, n: int) -> None:
    """All servers answer by the version, and alike."""
    assert {one.active_version() for one in replicas} == {version}
    found = [one.cosines("default") for one in replicas]
    assert [len(one) for one in found] == [n] * len(replicas)
    for one in found:
        assert one == pytest.approx(found[0], abs=1e-5)


def test_server_that_lacks_the_version_is_named_and_waited_for(
    whole: Common, poor: Common, oldest: Replica
) -> None:
    with started(poor, "poor") as other:
        rollout = begun(oldest)
        wait_for(oldest, rollout, "compared", "waits for diptych ")
        wait_for(other, rollout, "compared", "tiny/2 is not in the model repository")
        assert other.client.get("/models").json()["rollout"]["id"] == rollout
        other.add("default", ("c", noise(2)))
        require_same(oldest, other, version=1, n=3)
        give_version(poor, whole)
        wait_for(other, rollout)
        require_same(oldest, other, version=2, n=3)
        assert other.rollout(rollout)["reason"] == ""


def test_rollout_fails_where_the_server_that_runs_it_lacks_the_version(whole: Common, poor: Common) -> None:
    with started(poor, "oldest") as oldest, started(whole, "other") as other:
        rollout = begun(other)
        wait_for(other, rollout, "failed")
        assert other.rollout(rollout)["reason"].startswith("diptych ")
        assert "tiny/2 is not in the model repository" in other.rollout(rollout)["reason"]
        assert {one.active_version() for one in (oldest, other)} == {1}


def test_rollout_is_cancelled_on_any_server_and_begins_anew_on_any(
    whole: Common, poor: Common, oldest: Replica
) -> None:
    with started(poor, "poor") as other:
        rollout = begun(oldest)
        wait_for(other, rollout, "compared", "waits for")
        cancelled = other.client.delete(f"/rollouts/{rollout}")
        assert cancelled.json()["state"] == "cancelled", cancelled.text
        assert oldest.rollout(rollout)["state"] == "cancelled"
        assert oldest.client.delete(f"/rollouts/{rollout}").status_code == 409
        wait_until(lambda: oldest.client.get("/models").json()["rollout"] is None)
        give_version(poor, whole)
        again = begun(other)
        wait_for(oldest, again)
        wait_for(other, again)
        require_same(oldest, other, version=2, n=2)


def test_server_that_is_gone_is_waited_for_no_longer(poor: Common, oldest: Replica) -> None:
    with started(poor, "poor") as other:
        rollout = begun(oldest)
        wait_for(oldest, rollout, "compared", "waits for")
        other.server.stop(signal.SIGKILL)
        wait_for(oldest, rollout)
        require_same(oldest, version=2, n=2)


def test_next_server_goes_on_with_the_rollout_of_one_that_is_gone(
    whole: Common, poor: Common, oldest: Replica
) -> None:
    with started(whole, "next") as following, started(poor, "poor") as other:
        rollout = begun(following)
        wait_for(following, rollout, "compared", "waits for")
        oldest.server.stop(signal.SIGKILL)
        following.add("default", ("c", noise(2)))
        wait_for(other, rollout, "compared", "waits for")
        give_version(poor, whole)
        wait_for(following, rollout)
        wait_for(other, rollout)
        require_same(following, other, version=2, n=3)


def test_server_that_starts_beside_a_rollout_takes_part_in_it(
    whole: Common, poor: Common, oldest: Replica
) -> None:
    with started(poor, "poor") as other:
        rollout = begun(oldest)
        wait_for(oldest, rollout, "compared", "waits for")
        with started(whole, "late") as late:
            assert late.active_version() == 1
            give_version(poor, whole)
            for one in (oldest, other, late):
                wait_for(one, rollout)
            require_same(oldest, other, late, version=2, n=2)


@pytest.mark.parametrize("n_kept", [5_000, 2])
def test_server_that_was_out_of_reach_at_the_switch_answers_503_until_it_has_the_version(
    whole: Common, poor: Common, postgres_cluster: Cluster, n_kept: int
) -> None:
    """Also if it does not know all writes since then."""
    few = {
        "diptych.adapters.postgres.writes.N_KEPT": n_kept,
        "diptych.adapters.postgres.writes.PRUNE_EVERY": 1,
    }
    with started(whole, "oldest", **few) as oldest, started(poor, "poor", **few) as other:
        oldest.add("default", ("a", picture("red")), ("b", noise(1)))
        assert sorted(other.find("default")) == ["a", "b"]
        other.server.process.send_signal(signal.SIGSTOP)
        postgres_cluster.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE"
            f" 'diptych %:{httpx.URL(other.server.url).port}%'"
        )
        rollout = begun(oldest)
        wait_for(oldest, rollout)
        for n in (2, 3, 4):
            oldest.add("default", (f"n{n}", noise(n)))
        oldest.client.delete("/collections/default/images/b")
        oldest.client.post("/collections", json={"name": "pets"})
        oldest.add("pets", ("c", picture("red")))
        other.server.process.send_signal(signal.SIGCONT)
        refused = other.client.post("/search", json={"query": {"text": "red"}, "collections": ["default"]})
        assert refused.status_code == 503
        assert "which this one still loads" in refused.json()["detail"]
        assert "which this one still loads" in other.client.get("/readyz").json()["detail"]
        give_version(poor, whole)
        wait_until(lambda: other.client.get("/collections/default").status_code == 200)
        require_same(oldest, other, version=2, n=4)
        assert (other.n_images("default"), other.find("pets")) == (4, ["c"])
        assert other.client.get("/readyz").status_code == 200
        other.add("pets", ("d", noise(5)))
        assert sorted(oldest.find("pets")) == ["c", "d"]


def test_version_that_is_published_is_moved_to_by_all(postgres_cluster: Cluster, tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    common = Common(repo, postgres_cluster.url(), tmp_path)
    with common.replicas(2) as two:
        two[1].add("default", ("a", picture("red")))
        assert {one.active_version() for one in two} == {1}
        write_tiny_bundle(repo, seed=1)
        wait_until(lambda: {one.active_version() for one in two} == {2})
        require_same(*two, version=2, n=1)


def test_collection_whose_rows_keep_no_image_stays_on_its_version_everywhere(
    whole: Common, oldest: Replica
) -> None:
    with started(whole, "other") as other:
        made = oldest.client.post("/collections", json={"name": "kept-nothing", "keep": "none"})
        assert made.status_code == 201, made.text
        other.add("kept-nothing", ("a", picture("red")), ("b", noise(1)))
        before = oldest.cosines("kept-nothing")
        rollout = begun(other)
        for one in (oldest, other):
            wait_for(one, rollout)
        for one in (oldest, other):
            wait_until(
                lambda one=one: "keep no image" in one.client.get("/collections/kept-nothing").json()["stays"]
            )  # type: ignore[misc]
            assert one.cosines("kept-nothing") == pytest.approx(before, abs=1e-5)
        other.add("kept-nothing", ("c", noise(2)))
        assert len(oldest.cosines("kept-nothing")) == 3
        require_same(oldest, other, version=2, n=2)
