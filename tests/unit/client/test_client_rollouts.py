"""Calls about rollouts: what they send, and how they tell of the answers."""

import asyncio

import httpx
import pytest

from diptych_client import (
    AsyncClient,
    Client,
    PreviousVersion,
    Rollout,
    RolloutProgress,
    VersionRef,
)
from support.fake_api import ACTIVE, COMPARISON, ROLLOUT, FakeApi, body, ok


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
    api.on("GET /rollouts/r1", ok(ROLLOUT), ok(ACTIVE))
    seen: list[Rollout] = []
    ended = client.wait_for_rollout("r1", on_progress=seen.append)
    assert [one.state for one in seen] == ["embedding", "active"]
    assert ended == seen[-1]
    assert ended.has_ended


def test_async_client_waits_too(api: FakeApi) -> None:
    api.on("GET /rollouts/r1", ok(ROLLOUT), ok(ROLLOUT | {"state": "failed", "reason": "no room"}))

    async def wait() -> Rollout:
        async with AsyncClient(transport=api.transport()) as client:
            return await client.wait_for_rollout("r1")

    ended = asyncio.run(wait())
    assert (ended.state, ended.reason, ended.has_ended) == ("failed", "no room", True)


def test_rollouts_are_listed_up_to_the_limit(api: FakeApi, client: Client) -> None:
    api.on("GET /rollouts", ok({"rollouts": [ACTIVE]}))
    assert [one.state for one in client.rollouts(limit=5)] == ["active"]
    assert dict(api.requests[0].url.params) == {"limit": "5"}


def test_status_has_what_serves_and_what_a_rollback_returns_to(api: FakeApi, client: Client) -> None:
    models = [{"name": "tiny", "versions": [1, 2], "active": 2}, {"name": "mine", "versions": [4]}]
    previous = {"name": "tiny", "version": 1, "n_lagging": 3, "memory_bytes": 20, "vector_bytes": 10}
    models[0]["bundle"], previous["bundle"] = "a" * 64, "b" * 64
    api.on("GET /models", ok({"models": models, "policy": "manual", "previous": previous}))
    status = client.rollout_status()
    assert (status.active, status.policy) == (VersionRef("tiny", 2), "manual")
    assert status.previous == PreviousVersion("tiny", 1, 3, 20, 10)
    assert status.active is not None
    assert (status.active.exact, status.previous.exact) == ("tiny/2 (aaaaaaaa)", "tiny/1 (bbbbbbbb)")


def test_comparison_asks_for_both_versions_and_names_them(api: FakeApi, client: Client) -> None:
    api.on("GET /models/tiny/versions/5/comparison", ok(COMPARISON))
    found = client.compare_versions("tiny", 4, 5)
    client.compare_versions("tiny", 1, 5, old_name="other", collection="pets")
    assert [dict(request.url.params) for request in api.requests] == [
        {"against": "4"},
        {"against": "1", "against_model": "other", "collection": "pets"},
    ]
    (pets,) = found.collections
    assert (str(pets.old), str(pets.new)) == ("tiny/4 (fp32)", "tiny/5 (fp32)")
