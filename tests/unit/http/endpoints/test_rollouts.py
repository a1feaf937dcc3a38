"""Routes of rollouts, and what `/models` and collections show of one. No model is loaded."""

import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from diptych.core.rollout.comparison import ChangedQuery, CollectionComparison, ComparedVectors, Comparison
from diptych.core.rollout.types import (
    CollectionProgress,
    PreviousVersion,
    Progress,
    Rollout,
    RolloutStatus,
)
from diptych.core.services import Services
from diptych.core.types import CollectionInfo, CollectionStats, Sizes, Target, VersionRef
from diptych.errors import Conflict, CorruptBundle, DiptychError, InvalidValue, NotFound
from diptych.http.app import create_app

TARGET, FORMER = (Target(VersionRef("tiny", number, "b" * 64), "fp32", "exact") for number in (2, 1))
ROLLOUT = Rollout("r1", TARGET, "embedding", "2026-01-01T00:00:00Z", stays={"scans": "keeps no images"})
OLD, NEW = (ComparedVectors("tiny", version, "fp32", 0.99999) for version in (1, 2))
QUERY = ChangedQuery(0.5, ["a", "b"], ["b", "c"], id="d")
COMPARED = Comparison(
    [CollectionComparison("pets", 10, 1.0, NEW, OLD, 10, 0.75, [QUERY])],
    ["too low"],
)
PROGRESS = Progress(n_images=10, n_embedded=4, images_per_s=2.0, eta_s=3.0)
PETS = CollectionInfo(1, "pets", "tiny", 10, "2026-01-01T00:00:00Z")
SCANS = replace(PETS, name="scans", stays="3 images keep no file")


@dataclass
class FakeRollouts:
    """Records the calls. `refusal` is raised by each of them."""

    running: Rollout | None = None
    refusal: DiptychError | None = None
    calls: list[object] = field(default_factory=list)

    def _call(self, *given: object) -> None:
        self.calls.append(given)
        if self.refusal is not None:
            raise self.refusal

    async def activate(self, name: str, version: int | None = None, precision: str | None = None) -> Rollout:
        self._call("activate", name, version, precision)
        if version == 1:
            return replace(ROLLOUT, state="active", target=FORMER)
        self.running = replace(ROLLOUT, target=replace(TARGET, precision=precision or "fp32"))
        return self.running

    async def cancel(self, id: str) -> Rollout:
        self._call("cancel", id)
        return replace(ROLLOUT, state="cancelled", reason="cancelled by a request", finished_at="then")

    async def versions(self, old: Any, new: Any, collection: str | None = None) -> Comparison:
        self._call(old, new, collection)
        return COMPARED

    async def list(self, limit: int = 100) -> builtins.list[Rollout]:
        return [one for one in [self.running] if one is not None][:limit]

    async def get(self, id: str) -> Rollout:
        if self.running is None or self.running.id != id:
            raise NotFound(f"no rollout {id!r}")
        return self.running

    def progress(self, id: str) -> Progress | None:
        return PROGRESS if self.running is not None and self.running.id == id else None

    def of_collections(self) -> Mapping[str, CollectionProgress]:
        return {} if self.running is None else {"pets": CollectionProgress(self.running, 10, 4)}

    async def status(self) -> RolloutStatus:
        previous = PreviousVersion(FORMER, 3, 2048, 4096, 1024, 512)
        progress = None if self.running is None else PROGRESS
        return RolloutStatus(TARGET, "latest", previous, self.running, progress)


class FakeCollections:
    """Two collections without a served model."""

    async def stats_of_all(self) -> builtins.list[CollectionStats]:
        return [CollectionStats(info, Sizes(), None, None, None) for info in (PETS, SCANS)]

    async def database_bytes(self) -> int:
        return 0


class FakeCatalogue:
    """A repository that lists no models, with versions 1 to 3 of `tiny`."""

    async def versions(self, name: str) -> builtins.list[Any]:
        return [SimpleNamespace(version=number) for number in (1, 2, 3)]

    async def models(self) -> builtins.list[Any]:
        return []

    async def broken(self) -> dict[str, str]:
        return {"mine.tar": "it is a file"}


@pytest.fixture
def rollouts() -> FakeRollouts:
    return FakeRollouts()


@pytest.fixture
def client(rollouts: FakeRollouts) -> Iterator[TestClient]:
    async def nothing() -> None: ...

    services = SimpleNamespace(
        rollouts=rollouts,
        comparer=rollouts,
        serving=SimpleNamespace(current=SimpleNamespace(version=SimpleNamespace(ref=FORMER.ref))),
        collections=FakeCollections(),
        catalogue=FakeCatalogue(),
        close=nothing,
    )

    async def load() -> Services:
        return cast(Services, services)

    app = create_app(load)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        while app.state.diptych.services is None:
            client.get("/healthz")
        yield client


def test_activating_begins_a_rollout_and_names_its_path(client: TestClient, rollouts: FakeRollouts) -> None:
    answer = client.post("/models/tiny/versions/2/activate")
    assert answer.status_code == 202
    assert answer.headers["location"] == "/rollouts/r1"
    assert rollouts.calls == [("activate", "tiny", 2, None)]
    assert answer.json() == {
        "id": "r1",
        "target": {"name": "tiny", "version": 2, "bundle": "b" * 64, "precision": "fp32"},
        "state": "embedding",
        "progress": {"n_images": 10, "n_embedded": 4, "images_per_s": 2.0, "eta_s": 3.0},
        "stays": {"scans": "keeps no images"},
        "reason": "",
        "comparison": None,
        "created_at": "2026-01-01T00:00:00Z",
        "finished_at": None,
    }
    assert client.get("/rollouts/r1").json() == answer.json()


def test_body_of_activate_may_be_left_out_and_is_checked(client: TestClient, rollouts: FakeRollouts) -> None:
    path = "/models/tiny/versions/2/activate"
    assert client.post(path, json={"precision": "int8"}).json()["target"]["precision"] == "int8"
    assert client.post(path, json={}).status_code == 202
    assert rollouts.calls == [("activate", "tiny", 2, "int8"), ("activate", "tiny", 2, None)]
    assert client.post(path, json={"now": True}).status_code == 422
    assert client.post(path, json={"precision": 8}).status_code == 422
    assert client.post(path, content=b"{").status_code == 415
    assert client.post("/models/tiny/versions/two/activate").status_code == 422
    assert len(rollouts.calls) == 2
    serving = client.post("/models/tiny/versions/1/activate")
    assert (serving.status_code, serving.json()["state"], "location" in serving.headers) == (
        200,
        "active",
        False,
    )


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (CorruptBundle("weights are missing"), 409),
        (InvalidValue("tiny/9 has no precision 'int4', only fp32", "precision"), 422),
    ],
)
def test_refused_activation_says_why(
    client: TestClient, rollouts: FakeRollouts, refusal: DiptychError, status: int
) -> None:
    rollouts.refusal = refusal
    answer = client.post("/models/tiny/versions/9/activate")
    assert (answer.status_code, answer.json()["detail"]) == (status, str(refusal))


def test_versions_are_compared_with_the_active_one_or_another(
    client: TestClient, rollouts: FakeRollouts
) -> None:
    path = "/models/tiny/versions/2/comparison"
    assert client.get(path).json() == COMPARED.as_json()
    client.get(f"{path}?against=3&collection=pets")
    client.get(f"{path}?against=7&against_model=other")
    assert rollouts.calls == [
        (("tiny", 1), ("tiny", 2), None),
        (("tiny", 3), ("tiny", 2), "pets"),
        (("other", 7), ("tiny", 2), None),
    ]
    for query in ("against=0", "against_model=other", "with=3"):
        assert client.get(f"{path}?{query}").status_code == 422
    rollouts.refusal = Conflict("no collection has vectors of both")
    assert client.get(f"{path}?against=3").status_code == 409
    assert client.get(f"{path}?against=9").status_code == 404
    rollouts.running = replace(ROLLOUT, comparison=COMPARED.as_json())
    assert client.get("/rollouts/r1").json()["comparison"] == COMPARED.as_json()
    (listed,) = client.get("/rollouts").json()["rollouts"]  # which leaves the queries out
    (pets,) = listed["comparison"]["collections"]
    assert (pets["overlap_at_10"], pets["changed"], listed["comparison"]["unmet"]) == (0.75, [], ["too low"])


def test_rollouts_are_listed_up_to_a_limit(client: TestClient, rollouts: FakeRollouts) -> None:
    assert client.get("/rollouts").json() == {"rollouts": []}
    rollouts.running = ROLLOUT
    assert [one["id"] for one in client.get("/rollouts?limit=1").json()["rollouts"]] == ["r1"]
    assert client.get("/rollouts?limit=0").status_code == 422
    assert client.get("/rollouts?limit=1000000").status_code == 422
    assert client.get("/rollouts/r2").status_code == 404


def test_cancelling_answers_the_rollout_or_that_it_has_ended(
    client: TestClient, rollouts: FakeRollouts
) -> None:
    answer = client.delete("/rollouts/r1")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert (answer.json()["reason"], answer.json()["progress"]) == ("cancelled by a request", None)
    rollouts.refusal = Conflict("rollout 'r1' has ended")
    assert client.delete("/rollouts/r1").status_code == 409


def test_models_show_policy_previous_version_and_rollout(client: TestClient, rollouts: FakeRollouts) -> None:
    found = client.get("/models").json()
    previous = {"name": "tiny", "version": 1, "bundle": "b" * 64, "precision": "fp32", "n_lagging": 3}
    previous |= {"memory_bytes": 2048, "weight_bytes": 4096, "vector_bytes": 1024, "bundle_bytes": 512}
    broken = [{"folder": "mine.tar", "reason": "it is a file"}]
    assert found == {
        "models": [],
        "policy": "latest",
        "previous": previous,
        "rollout": None,
        "broken": broken,
    }
    rollouts.running = ROLLOUT
    shown = client.get("/models").json()["rollout"]
    assert (shown["id"], shown["progress"]["n_embedded"]) == ("r1", 4)


def test_collection_shows_its_rollout_and_why_it_stays(client: TestClient, rollouts: FakeRollouts) -> None:
    rollouts.running = ROLLOUT
    pets, scans = client.get("/collections").json()["collections"]
    moving = {"id": "r1", "model": "tiny", "version": 2, "precision": "fp32", "state": "embedding"}
    assert pets["rollout"] == moving | {"n_images": 10, "n_embedded": 4}
    assert (pets["stays"], scans["stays"], scans["rollout"]) == ("", "3 images keep no file", None)
