"""How the API reports an approximate index, and how callers ask for an exact search."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.adapters.faiss.flat_index import FaissFlatIndex, index_threads
from diptych.core.types import Embedding, IndexPlacement, Keys
from diptych.wiring import assemble
from support.app import running_app
from support.image_requests import add_images
from support.pictures import picture
from support.tiny_bundle import EMBED_DIM

PLACEMENT = IndexPlacement("cuda", "9 rows are copied onto the GPU")


class Approximate(FaissFlatIndex):
    """An index that reports a recall below 1 and records which searches had to be exact."""

    recall = 0.993
    exact: list[bool]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.placement = PLACEMENT

    async def search(
        self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False
    ) -> tuple[Keys, Embedding]:
        self.exact.append(exact)
        return await super().search(query, k, allowed)


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(Approximate, "exact", [], raising=False)
    monkeypatch.setattr(
        assemble, "new_index_of", lambda *_: partial(Approximate, EMBED_DIM, index_threads(1))
    )
    with running_app(tmp_path_factory.mktemp("approximate")) as client:
        add_images(client, "/collections/default/images", picture("red"))
        yield client


def test_collection_and_metrics_report_its_recall_as_it_changes(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = client.get("/collections/default").json()
    assert told["recall"] == 0.993
    assert told["index"] == {"device": "cuda", "reason": PLACEMENT.reason}
    line = 'diptych_index_recall{collection="default"} '
    assert line + "0.993" in client.get("/metrics").text
    monkeypatch.setattr(Approximate, "recall", 0.95)
    assert line + "0.95" in client.get("/metrics").text


def test_exact_search_is_exact(client: TestClient) -> None:
    client.get("/search", params={"q": "red"})
    client.get("/search", params={"q": "red", "exact": "true"})
    client.post("/search", json={"query": {"text": "red"}, "exact": True})
    client.post("/search", json={"query": {"text": "red"}})
    assert Approximate.exact == [False, True, True, False]
