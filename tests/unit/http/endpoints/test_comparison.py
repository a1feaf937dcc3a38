"""Comparisons of versions over HTTP. No model is loaded."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from diptych.core.rollout.comparison import ChangedQuery, CollectionComparison, ComparedVectors, Comparison
from diptych.core.rollout.types import Rollout
from diptych.core.services import Services
from diptych.core.types import Target, VersionRef
from diptych.errors import Conflict, DiptychError, NotFound
from diptych.http.app import create_app

ACTIVE = Target(VersionRef("tiny", 1, "b" * 64), "fp32", "exact")
OLD, NEW = (ComparedVectors("tiny", version, "fp32", 0.99999) for version in (1, 2))
PETS = CollectionComparison(
    "pets", 10, 1.0, NEW, OLD, 10, 0.75, [ChangedQuery(0.5, ["a", "b"], ["b", "c"], id="d")]
)
COMPARED = Comparison([PETS], ["too low"])
PATH = "/models/tiny/versions/2/comparison"


@dataclass
class FakeComparer:
    """Records the calls. `refusal` is raised by each of them."""

    refusal: DiptychError | None = None
    calls: list[object] = field(default_factory=list)

    async def versions(self, old: Any, new: Any, collection: str | None = None) -> Comparison:
        self.calls.append((old, new, collection))
        if self.refusal is not None:
            raise self.refusal
        return COMPARED


class FakeCatalogue:
    """A repository with versions 1 to 3 of `tiny`."""

    async def versions(self, name: str) -> list[Any]:
        if name != "tiny":
            raise NotFound(f"no model {name!r}")
        return [SimpleNamespace(version=number) for number in (1, 2, 3)]


class FakeRollouts:
    """One rollout, which was refused."""

    async def get(self, id: str) -> Rollout:
        return Rollout(id, ACTIVE, "failed", "2026-01-01", reason="too low", comparison=COMPARED.as_json())

    async def list(self, limit: int = 100) -> list[Rollout]:
        return [await self.get("r1")]

    def progress(self, id: str) -> None:
        return None


@pytest.fixture
def comparer() -> FakeComparer:
    return FakeComparer()


@pytest.fixture
def client(comparer: FakeComparer) -> Iterator[TestClient]:
    async def nothing() -> None: ...

    services = SimpleNamespace(
        comparer=comparer,
        catalogue=FakeCatalogue(),
        rollouts=FakeRollouts(),
        serving=SimpleNamespace(current=SimpleNamespace(version=SimpleNamespace(ref=ACTIVE.ref))),
        close=nothing,
    )

    async def load() -> Services:
        return cast(Services, services)

    app = create_app(load)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        while app.state.diptych.services is None:
            client.get("/healthz")
        yield client


def test_version_is_compared_with_the_active_one_or_another(
    client: TestClient, comparer: FakeComparer
) -> None:
    answer = client.get(PATH)
    assert answer.status_code == 200
    assert answer.json() == COMPARED.as_json()
    client.get(f"{PATH}?against=3&collection=pets")
    client.get(f"{PATH}?against=7&against_model=other")
    assert comparer.calls == [
        (("tiny", 1), ("tiny", 2), None),
        (("tiny", 3), ("tiny", 2), "pets"),
        (("other", 7), ("tiny", 2), None),
    ]


def test_versions_without_vectors_are_a_conflict_and_unknown_ones_not_found(
    client: TestClient, comparer: FakeComparer
) -> None:
    comparer.refusal = Conflict("no collection has vectors of both")
    answer = client.get(f"{PATH}?against=3")
    assert (answer.status_code, answer.json()["detail"]) == (409, "no collection has vectors of both")
    assert client.get(f"{PATH}?against=9").status_code == 404
    assert client.get(f"{PATH}?against=1&against_model=other").status_code == 404


@pytest.mark.parametrize("query", ["against=0", "against=x", "against_model=other", "with=3"])
def test_bad_parameters_are_refused(client: TestClient, comparer: FakeComparer, query: str) -> None:
    assert client.get(f"{PATH}?{query}").status_code == 422
    assert comparer.calls == []


def test_rollout_shows_its_comparison_and_lists_leave_the_queries_out(client: TestClient) -> None:
    assert client.get("/rollouts/r1").json()["comparison"] == COMPARED.as_json()
    (listed,) = client.get("/rollouts").json()["rollouts"]
    (pets,) = listed["comparison"]["collections"]
    assert (pets["overlap_at_10"], pets["changed"], listed["comparison"]["unmet"]) == (0.75, [], ["too low"])
