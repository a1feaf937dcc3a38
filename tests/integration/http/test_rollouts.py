"""Rollouts over HTTP, and what `/models` and collections show of one."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.core.collections.upkeep.reembed import Reembedder
from support.app import running_app
from support.image_requests import add_images
from support.pictures import picture
from support.tiny_bundle import TINY, write_tiny_bundle

ENDS_WITHIN_S = 30
VERSION_2 = f"/models/{TINY}/versions/2"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Version 1 serves a picture; version 2 waits."""
    folder = tmp_path_factory.mktemp("rollouts")
    with running_app(folder, rollout="manual") as client:
        for name, keep in (("default", "original"), ("scans", "none")):
            client.post("/collections", json={"name": name, "keep": keep})
            assert add_images(client, f"/collections/{name}/images", picture("red")).status_code == 200
        write_tiny_bundle(folder / "model_repo", seed=1)
        yield client


def ended(client: TestClient, path: str) -> Any:
    deadline = time.monotonic() + ENDS_WITHIN_S
    while (rollout := client.get(path).json())["finished_at"] is None:
        assert time.monotonic() < deadline, rollout
        time.sleep(0.01)
    return rollout


def test_rollout_is_begun_followed_compared_and_left(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, embed = threading.Event(), Reembedder.run

    async def wait_and_embed(*given: Any) -> Any:
        await asyncio.to_thread(go_on.wait, ENDS_WITHIN_S)
        return await embed(*given)

    monkeypatch.setattr(Reembedder, "run", wait_and_embed)
    (first,) = client.get("/rollouts").json()["rollouts"]
    assert (first["state"], first["target"]["version"]) == ("active", 1)
    assert client.get(f"{VERSION_2}/comparison").status_code == 409
    begun = client.post(f"{VERSION_2}/activate", json={"precision": "fp32"})
    rollout = begun.json()
    assert (begun.status_code, begun.headers["location"]) == (202, f"/rollouts/{rollout['id']}")
    assert client.get("/models").json()["rollout"]["id"] == rollout["id"]
    deadline = time.monotonic() + ENDS_WITHIN_S
    while (moving := client.get("/collections/default").json()["rollout"]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    expected = {"id": rollout["id"], "model": TINY, "version": 2, "n_images": 1, "n_embedded": 0}
    assert expected.items() <= moving.items()
    go_on.set()
    done = ended(client, begun.headers["location"])
    assert (done["state"], done["reason"], list(done["stays"])) == ("active", "", ["scans"])
    assert client.delete(begun.headers["location"]).status_code == 409
    again = client.post(f"{VERSION_2}/activate")
    assert (again.status_code, again.json()["state"], "location" in again.headers) == (200, "active", False)
    shown = client.get("/models").json()
    previous = {"name": TINY, "version": 1, "precision": "fp32", "n_lagging": 0}
    assert (shown["policy"], shown["rollout"]) == ("manual", None)
    assert previous.items() <= shown["previous"].items()
    scans = client.get("/collections/scans").json()
    assert (scans["vectors"]["version"], bool(scans["stays"]), scans["rollout"]) == (1, True, None)
    compared = client.get(f"{VERSION_2}/comparison", params={"against": 1, "collection": "default"}).json()
    (found,) = compared["collections"]
    assert (found["collection"], found["old"]["version"], found["new"]["version"]) == ("default", 1, 2)
    assert done["comparison"]["collections"][0]["overlap_at_10"] == found["overlap_at_10"]
    listed = {one["id"]: one for one in client.get("/rollouts").json()["rollouts"]}[rollout["id"]]
    assert {one["overlap_at_10"] for one in listed["comparison"]["collections"]} >= {found["overlap_at_10"]}
    assert [one["changed"] for one in listed["comparison"]["collections"]] == [[]]  # without queries
    assert len(client.get("/rollouts", params={"limit": 1}).json()["rollouts"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"/models/{TINY}/versions/9/activate", None, 404),
        ("POST", f"/models/{TINY}/versions/two/activate", None, 422),
        ("POST", f"{VERSION_2}/activate", {"precision": "int4"}, 422),
        ("POST", f"{VERSION_2}/activate", {"now": True}, 422),
        ("GET", f"{VERSION_2}/comparison?against=9", None, 404),
        ("GET", f"{VERSION_2}/comparison?against=0", None, 422),
        ("GET", f"{VERSION_2}/comparison?against_model=other", None, 422),
        ("GET", "/rollouts?limit=0", None, 422),
        ("GET", "/rollouts/none", None, 404),
    ],
)
def test_what_cannot_be_activated_or_compared_is_refused(
    client: TestClient, method: str, path: str, body: Any, status: int
) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
