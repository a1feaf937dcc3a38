"""How the API reports an approximate index, and how callers ask for an exact search."""

from collections.abc import Iterator
from functools import partial

import pytest
from fastapi.testclient import TestClient

from diptych.adapters.faiss.cpu_index import FaissCpuIndex
from diptych.adapters.faiss.threads import IndexThreads
from diptych.core.types import Embedding, IndexPlacement, IndexRecall, Keys
from diptych.wiring import assemble
from support.app import running_app
from support.image_requests import add_images
from support.pictures import picture
from support.tiny_bundle import EMBED_DIM

PLACEMENT = IndexPlacement("cpu", "16 of 4,000 lists are searched", "ivf")


class Approximate(FaissCpuIndex):
    """An index that reports a recall below 1 and records which searches had to be exact."""

    recall = IndexRecall(0.996, 0.993, 1.0)
    exact: list[bool]

    placement = PLACEMENT

    async def search(
        self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False
    ) -> tuple[Keys, Embedding]:
        self.exact.append(exact)
        return await super().search(query, k, allowed)


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(Approximate, "exact", [], raising=False)
    monkeypatch.setattr(assemble, "new_index_of", lambda *_: partial(Approximate, EMBED_DIM, IndexThreads(1)))
    with running_app(tmp_path_factory.mktemp("approximate")) as client:
        add_images(client, "/collections/default/images", picture("red"))
        yield client


def test_collection_and_metrics_report_its_recall_as_it_changes(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = client.get("/collections/default").json()
    assert told["recall"] == 0.993
    assert told["recall_by"] == {"names": 0.996, "nouns": 0.993, "images": 1.0}
    assert told["index"] == {"kind": "ivf", "device": "cpu", "reason": PLACEMENT.reason}
    line = 'diptych_index_recall{collection="default"} '
    assert line + "0.993" in client.get("/metrics").text
    monkeypatch.setattr(Approximate, "recall", IndexRecall(0.99, 0.95, 1.0))
    metrics = client.get("/metrics").text
    assert line + "0.95" in metrics
    assert 'diptych_index_recall_by{collection="default",queries="names"} 0.99' in metrics


def test_exact_search_is_exact(client: TestClient) -> None:
    client.get("/search", params={"q": "red"})
    client.get("/search", params={"q": "red", "exact": "true"})
    client.post("/search", json={"query": {"text": "red"}, "exact": True})
    client.post("/search", json={"query": {"text": "red"}})
    assert Approximate.exact == [False, True, True, False]
