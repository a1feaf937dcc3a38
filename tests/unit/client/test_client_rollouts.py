"""Calls about rollouts: what they send, and how they tell of the answers."""

import asyncio

import httpx
import pytest

from diptych_client import (
    AsyncClient,
    BrokenFolder,
    ChangedQuery,
    Client,
    CollectionRollout,
    Conflict,
    PreviousVersion,
    Rollout,
    RolloutProgress,
    RolloutStatus,
    UnexpectedAnswer,
    VersionRef,
)
from support.fake_api import ACTIVE, COMPARISON, PETS, ROLLOUT, FakeApi, body, ok, problem

ENDED = ACTIVE | {"stays": {"scans": "3 images keep no file"}, "comparison": COMPARISON}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def test_activate_sends_the_precision_if_one_is_named(api: FakeApi, client: Client) -> None:
    api.on("POST /models/tiny/versions/4/activate", httpx.Response(202, json=ROLLOUT))
    begun = client.activate("tiny", 4)
    client.activate("tiny", 4, precision="int8")
    assert [body(request) for request in api.requests] == [{}, {"precision": "int8"}]
    assert begun == Rollout(
        "r1",
        VersionRef("tiny", 4),
        "embedding",
        "2026-01-01T00:00:00Z",
        progress=RolloutProgress(10, 4, 2.0, 3.0),
    )
    assert (str(begun.target), begun.target.precision) == ("tiny/4", "fp32")
    assert not begun.has_ended


def test_waiting_tells_of_each_look_and_returns_the_end(api: FakeApi, client: Client) -> None:
    api.on("GET /rollouts/r1", ok(ROLLOUT), ok(ENDED))
    seen: list[Rollout] = []
    ended = client.wait_for_rollout("r1", on_progress=seen.append)
    assert [one.state for one in seen] == ["embedding", "active"]
    assert ended == seen[-1]
    assert ended.has_ended
    assert ended.stays == {"scans": "3 images keep no file"}
    assert ended.comparison is not None
    assert ended.comparison.collections[0].overlap_at_10 == 0.832


def test_async_client_waits_too(api: FakeApi) -> None:
    api.on("GET /rollouts/r1", ok(ROLLOUT), ok(ROLLOUT | {"state": "failed", "reason": "no room"}))

    async def wait() -> Rollout:
        async with AsyncClient(transport=api.transport()) as client:
            return await client.wait_for_rollout("r1")

    ended = asyncio.run(wait())
    assert (ended.state, ended.reason, ended.has_ended) == ("failed", "no room", True)


def test_rollouts_are_listed_and_cancelled(api: FakeApi, client: Client) -> None:
    api.on("GET /rollouts", ok({"rollouts": [ENDED]}))
    assert [one.state for one in client.rollouts(limit=5)] == ["active"]
    assert dict(api.requests[0].url.params) == {"limit": "5"}
    api.on("DELETE /rollouts/r1", ok(ROLLOUT | {"state": "cancelled"}), problem(409, "it has ended"))
    assert client.cancel_rollout("r1").state == "cancelled"
    with pytest.raises(Conflict, match="it has ended"):
        client.cancel_rollout("r1")


def test_status_has_what_serves_and_what_a_rollback_returns_to(api: FakeApi, client: Client) -> None:
    models = [{"name": "tiny", "versions": [1, 2], "active": 2}, {"name": "mine", "versions": [4]}]
    previous = {"name": "tiny", "version": 1, "n_lagging": 3, "memory_bytes": 20, "vector_bytes": 10}
    previous |= {"weight_bytes": 40, "bundle_bytes": 30, "precision": "int8"}
    whole = {"models": models, "policy": "manual", "previous": previous, "rollout": ROLLOUT}
    models[0]["bundle"], previous["bundle"] = "a" * 64, "b" * 64
    whole["broken"] = [{"folder": "mine.tar", "reason": "it is a file"}]
    api.on("GET /models", ok(whole))
    status = client.rollout_status()
    assert (status.active, status.policy) == (VersionRef("tiny", 2), "manual")
    assert status.previous == PreviousVersion("tiny", 1, 3, 20, 10, 40, 30)
    assert status.active is not None
    assert (status.active.exact, status.previous.exact) == ("tiny/2 (aaaaaaaa)", "tiny/1 (bbbbbbbb)")
    assert status.previous.precision == "int8"
    assert status.broken == (BrokenFolder("mine.tar", "it is a file"),)
    assert status.rollout is not None
    assert status.rollout.target == VersionRef("tiny", 4)


def test_older_server_has_no_policy(api: FakeApi, client: Client) -> None:
    api.on("GET /models", ok({"models": [{"name": "tiny", "versions": [1], "active": 1}]}))
    assert client.rollout_status() == RolloutStatus(VersionRef("tiny", 1), None)


def test_collection_shows_the_rollout_that_it_takes_part_in(api: FakeApi, client: Client) -> None:
    moving = {"id": "r2", "model": "mine", "version": 4, "precision": "fp32", "state": "embedding"}
    moving |= {"n_images": 12, "n_embedded": 5}
    api.on("GET /collections/pets", ok(PETS | {"version": 3, "stays": "", "rollout": moving}))
    found = client.collection("pets")
    assert found.rollout == CollectionRollout("r2", "mine", 4, "fp32", "embedding", 12, 5)
    assert (found.version, found.stays) == (3, "")


def test_answer_without_a_target_is_unexpected(api: FakeApi, client: Client) -> None:
    api.on("GET /rollouts/r1", ok({"id": "r1"}))
    with pytest.raises(UnexpectedAnswer, match="the answer to a rollout has no 'target'"):
        client.rollout("r1")


def test_comparison_names_both_versions_and_has_the_queries(api: FakeApi, client: Client) -> None:
    api.on("GET /models/tiny/versions/5/comparison", ok(COMPARISON))
    found = client.compare_versions("tiny", 4, 5)
    client.compare_versions("tiny", 1, 5, old_name="other", collection="pets")
    assert [dict(request.url.params) for request in api.requests] == [
        {"against": "4"},
        {"against": "1", "against_model": "other", "collection": "pets"},
    ]
    (pets,) = found.collections
    assert (str(pets.old), str(pets.new)) == ("tiny/4 (fp32)", "tiny/5 (fp32)")
    assert pets.changed[0] == ChangedQuery(0.5, ("tom", "rex"), ("rex", "<i>"), text="a <b> & c")
    assert pets.changed[1].id == "rex"
    assert (pets.n_queries, pets.overlap_at_10) == (40, 0.832)


def test_comparison_without_a_former_version(api: FakeApi, client: Client) -> None:
    new = {"model": "tiny", "version": 5, "precision": "fp32", "golden_cosine_min": 0.99999}
    row = {"collection": "pets", "n_images": 3, "coverage": 1.0, "old": None, "new": new}
    api.on("GET /models/tiny/versions/5/comparison", ok({"collections": [row], "unmet": ["too low"]}))
    found = client.compare_versions("tiny", 4, 5)
    assert found.unmet == ("too low",)
    (pets,) = found.collections
    assert (pets.old, pets.overlap_at_10, pets.changed) == (None, None, ())


def test_versions_that_no_collection_has_are_a_conflict(api: FakeApi, client: Client) -> None:
    api.on("GET /models/tiny/versions/5/comparison", problem(409, "no collection has vectors of both"))
    with pytest.raises(Conflict, match="no collection"):
        client.compare_versions("tiny", 4, 5)
