"""Servers whose originals are in an object store: what they keep in it, and what an outage of it does."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.callers import wait_until
from support.fixtures import model_repo_fixture
from support.object_store import KEY, SECRET, Store
from support.pictures import noise, picture
from support.postgres import Cluster
from support.server import start, url_when_ready
from support.several_servers import Common, Replica
from support.tiny_bundle import TINY

model_repo = model_repo_fixture({})
model_repo_of_two = model_repo_fixture({}, {"seed": 1})
IMAGES = "/collections/default/images"
SOON = {
    "diptych.adapters.objects.bucket.RETRY_S": 0.3,
    "diptych.adapters.objects.bucket.N_RETRIES": 1,
    "diptych.adapters.objects.bucket.PROBE_S": 0.5,
    "diptych.adapters.objects.bucket.PAUSE_S": 0.05,
    "diptych.adapters.objects.bucket.KNOWN_S": 0.0,
}


@pytest.fixture
def common(object_store: Store, model_repo: Path, postgres_cluster: Cluster, tmp_path: Path) -> Common:
    bucket = f"s3://{object_store.bucket()}/pictures"
    return Common(model_repo, postgres_cluster.url(), tmp_path, bucket, object_store.environment)


def bucket_of(common: Common) -> str:
    return (common.bucket or "").split("/")[2]


def images_of(store: Store, common: Common) -> list[str]:
    return store.keys(bucket_of(common), "pictures/images/")


def original(replica: Replica, id: str) -> httpx.Response:
    return replica.client.get(f"{IMAGES}/{id}/original")


def test_what_one_server_keeps_the_other_one_reads_and_the_next_sweep_removes(
    common: Common, object_store: Store
) -> None:
    with common.replica("one") as one, common.replica("other") as other:
        one.add("default", ("a", picture("red")), ("b", picture("blue")))
        assert original(other, "a").content == picture("red")
        thumbnail = other.client.get(f"{IMAGES}/a/thumbnail", params={"size": 64})
        assert thumbnail.content == one.client.get(f"{IMAGES}/a/thumbnail", params={"size": 64}).content
        other.add("default", ("a", picture("red")))  # unchanged: not written again
        assert len(images_of(object_store, common)) == 2
        other.add("default", ("a", noise(1)), replace=True)
        assert original(one, "a").content == noise(1)
        assert one.client.delete(f"{IMAGES}/b").status_code == 204
        assert len(images_of(object_store, common)) == 3  # for an hour
    everything = object_store.keys(bucket_of(common))
    assert {name.split("/")[1] for name in everything} == {"images", "thumbnails", "database-id", "clock"}
    object_store.age(bucket_of(common), *everything)
    with common.replica("third") as third:  # an empty data folder
        assert original(third, "a").content == noise(1)
        wait_until(lambda: len(images_of(object_store, common)) == 1)
        assert original(third, "a").content == noise(1)
        assert not list((common.folder / "third").glob("images/*/*"))


def test_outage_answers_503_and_leaves_nothing_half_done(common: Common, object_store: Store) -> None:
    with common.replica("one", constants=SOON) as one:
        one.add("default", ("a", picture("red")))
        object_store.fault = "500"
        client = one.client
        answers = [
            original(one, "a"),
            client.get(f"{IMAGES}/a/thumbnail", params={"size": 64}),
            client.post(IMAGES, files=[("image", ("b", picture("blue"), "image/png"))]),
            client.delete(f"{IMAGES}/a"),
        ]
        ready = client.get("/readyz")
        assert [(one.status_code, one.headers.get("retry-after")) for one in answers] == [(503, "1")] * 4
        assert ready.status_code == 503
        reason = "the object store that DIPTYCH_ORIGINALS names answers with an error (InternalError)"
        assert all(reason in one.json()["detail"] for one in (*answers, ready)), [one.text for one in answers]
        assert client.get("/healthz").status_code == 200
        assert one.find("default") == ["a"]  # searches need no image
        object_store.fault = None
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert (one.find("default"), one.n_images("default")) == (["a"], 1)
        assert original(one, "a").content == picture("red")
        one.add("default", ("b", picture("blue")))
        assert original(one, "b").content == picture("blue")
        lines = [line["message"] for line in one.server.log() if "object store" in line["message"]]
        assert lines[0] == reason
        assert lines[-1].startswith("the object store answers again")
        log = one.server.log_file.read_text()
        assert not any(secret in log for secret in (KEY, SECRET))


def test_refused_writes_hinder_no_reads(common: Common, object_store: Store) -> None:
    with common.replica("one", constants=SOON) as one:
        one.add("default", ("a", picture("red")))
        object_store.fault, object_store.methods = "403", frozenset({"PUT"})
        refused = one.client.post(IMAGES, files=[("image", ("b", picture("blue"), "image/png"))])
        assert refused.status_code == 503
        assert "refuses access (AccessDenied)" in refused.json()["detail"]
        assert original(one, "a").content == picture("red")
        assert one.n_images("default") == 1


def test_store_that_hangs_keeps_no_other_request_waiting(common: Common, object_store: Store) -> None:
    with common.replica("one", constants=SOON) as one:
        one.add("default", ("a", picture("red")))
        object_store.fault, object_store.methods = "hang", frozenset({"PUT"})
        with httpx.Client(base_url=one.server.url, timeout=0.3) as hasty, pytest.raises(httpx.ReadTimeout):
            hasty.post(IMAGES, files=[("image", ("b", picture("blue"), "image/png"))])
        assert one.find("default") == ["a"]
        assert original(one, "a").content == picture("red")
        assert one.client.get("/readyz").status_code == 200
        object_store.released.set()


def test_lost_and_damaged_objects_are_named_and_healed_by_adding_them_again(
    common: Common, object_store: Store
) -> None:
    with common.replica("one") as one:
        one.add("default", ("a", picture("red")), ("b", picture("blue")))
        lost, damaged = images_of(object_store, common)
        object_store.remove(bucket_of(common), lost)
        object_store.write(bucket_of(common), damaged, b"other bytes")
        details = {original(one, id).json()["detail"].split(" is ")[1] for id in "ab"}
        assert details == {"missing: add the image again", "damaged: add the image again"}
        one.add("default", ("a", picture("red")), ("b", picture("blue")))
        assert [original(one, id).content for id in "ab"] == [picture("red"), picture("blue")]


def test_rollout_waits_for_the_store(
    model_repo_of_two: Path, object_store: Store, postgres_cluster: Cluster, tmp_path: Path
) -> None:
    bucket = f"s3://{object_store.bucket()}"
    common = Common(model_repo_of_two, postgres_cluster.url(), tmp_path, bucket, object_store.environment)
    soon = SOON | {"diptych.core.collections.upkeep.reembed.AWAY_S": 0.05}
    with common.replica("one", "--rollout", "manual", "--version", "1", constants=soon) as one:
        one.add("default", ("a", picture("red")), ("b", picture("blue")))
        object_store.fault, object_store.methods = "500", frozenset({"GET"})
        assert one.client.post(f"/models/{TINY}/versions/2/activate").status_code == 202
        wait_until(lambda: any("images wait to be embedded" in line["message"] for line in one.server.log()))
        assert (one.active_version(), sorted(one.find("default"))) == (1, ["a", "b"])
        object_store.fault = None
        wait_until(lambda: one.active_version() == 2)
        assert sorted(one.find("default")) == ["a", "b"]


@pytest.fixture
def filled(common: Common) -> Iterator[Common]:
    with common.replica("one") as one:
        one.add("default", ("a", picture("red")))
    yield common


def refusal(common: Common, name: str) -> str:
    """Start a server that is refused; return why."""
    process, log_file = start(
        *(common.model_repo, TINY, common.folder / name, *common.flags), environment=common.environment,
        constants=SOON,
    )  # fmt: skip
    assert url_when_ready(process, log_file) is None
    return log_file.read_text()


def test_start_is_refused_with_the_wrong_store_or_without_access(filled: Common, object_store: Store) -> None:
    def elsewhere(bucket: str) -> Common:
        return Common(filled.model_repo, filled.url, filled.folder, bucket, filled.environment)

    assert "has no such bucket: make it" in refusal(elsewhere("s3://no-such-bucket"), "new")
    empty = object_store.bucket()
    assert "do not belong together" in refusal(elsewhere(f"s3://{empty}"), "new")
    assert "belongs to another database than the object store" in refusal(elsewhere(f"s3://{empty}"), "one")
    assert object_store.keys(empty) == []
    object_store.fault, object_store.methods = "403", frozenset({"PUT"})
    log = refusal(filled, "one")
    assert "refuses access (AccessDenied)" in log
    object_store.fault, object_store.methods = "403", frozenset({"GET"})
    log += refusal(filled, "one")
    assert log.count("refuses access (AccessDenied)") >= 2
    assert not any(secret in log for secret in (KEY, SECRET))


def test_killed_server_leaves_no_row_without_its_image(common: Common, object_store: Store) -> None:
    with common.replica("one") as one, common.replica("other") as other:
        object_store.fault, object_store.methods = "hang", frozenset({"PUT"})
        with httpx.Client(base_url=one.server.url, timeout=0.3) as hasty, pytest.raises(httpx.ReadTimeout):
            hasty.post(IMAGES, files=[("image", ("a", picture("red"), "image/png"))])
        one.server.stop(signal.SIGKILL)
        object_store.fault = None
        object_store.released.set()
        assert other.find("default") == []
        other.add("default", ("a", picture("red")))
        assert original(other, "a").content == picture("red")
