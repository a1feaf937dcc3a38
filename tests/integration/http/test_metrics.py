"""Every published metric is there, and moves when it should. The whole application on the tiny bundle."""

import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from diptych.adapters.sqlite.row_writer import SqlRowWriter
from diptych.errors import CorruptBundle, DiptychError, StoreFull, StoreReadOnly
from diptych.wiring import version_loader
from diptych.wiring.loading.bundles import VerifiedBundle
from support.app import running_app
from support.fixtures import client_fixture
from support.image_requests import add_images, files_of
from support.pictures import noise, picture
from support.tiny_bundle import write_tiny_bundle

WITHIN_S = 30

# Name of a sample, and its labels.
PUBLISHED = {
    "diptych_requests_total": {"route", "code"},
    "diptych_request_seconds_count": {"route"},
    "diptych_stage_seconds_count": {"stage"},
    "diptych_batch_size_sum": {"encoder"},
    "diptych_queue_items": {"encoder"},
    "diptych_rejected_total": {"reason"},
    "diptych_label_cache_total": {"result"},
    "diptych_collection_images": {"collection"},
    "diptych_index_recall": {"collection"},
    "diptych_index_recall_by": {"collection", "queries"},
    "diptych_model_info": {"name", "version", "precision", "provider"},
    "diptych_rollout_state": {"name", "version"},
    "diptych_rollout_images": {"state"},
    "diptych_rollouts_total": {"result"},
    "diptych_rollback_lag_images": set(),
    "diptych_ready": set(),
}
IMAGES = "/collections/default/images"
STAGES = ("parse", "decode", "queue", "encode", "search", "serialise")


client = client_fixture(max_items=2, max_add_items=2, max_queue_items=2)


def samples(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples
    }


class Moves:
    """Changes of the metrics between the start and the end of a block."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def __enter__(self) -> "Moves":
        self._before = samples(self._client)
        return self

    def __exit__(self, *_: object) -> None:
        self._after = samples(self._client)

    def by(self, name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return self._after.get(key, 0.0) - self._before.get(key, 0.0)


def test_all_metrics_exist_after_some_traffic(client: TestClient) -> None:
    assert add_images(client, IMAGES, noise(1)).status_code == 200
    client.get("/search", params={"q": "red"})
    classify(client, "red", "blue")
    client.post("/embed", json={"input": [{"text": "a"}] * 3})
    refuse(client)
    found: dict[str, set[frozenset[str]]] = {}
    for name, labels in samples(client):
        found.setdefault(name, set()).add(frozenset(label for label, _ in labels) - {"le"})
    assert {name: found[name] for name in PUBLISHED} == {
        name: {frozenset(labels)} for name, labels in PUBLISHED.items()
    }
    ours = {name for name in found if not name.endswith(("_created", "_bucket", "_sum", "_count"))}
    assert {name for name in ours if name.startswith("diptych_")} <= set(PUBLISHED)


def test_requests_are_counted_by_template_and_status(client: TestClient) -> None:
    with Moves(client) as moves:
        client.get("/collections/default/images/nobody")
        client.get("/collections/default/images/nothing")
        client.get("/no/such/path")
    route = "/collections/{collection}/images/{id}"
    assert moves.by("diptych_requests_total", route=route, code="404") == 2
    assert moves.by("diptych_request_seconds_count", route=route) == 2
    assert moves.by("diptych_requests_total", route="unmatched", code="404") == 1


def test_stages_are_timed_and_images_counted_while_their_collection_exists(client: TestClient) -> None:
    with Moves(client) as moves:
        embed_picture(client, 10)
    assert [moves.by("diptych_stage_seconds_count", stage=stage) for stage in STAGES] == [1, 1, 1, 1, 0, 1]
    assert moves.by("diptych_batch_size_sum", encoder="image") == 1
    client.post("/collections", json={"name": "brief"})
    with Moves(client) as moves:
        assert add_images(client, "/collections/brief/images", noise(2)).status_code == 200
    assert moves.by("diptych_collection_images", collection="brief") == 1
    client.delete("/collections/brief")
    assert ("diptych_collection_images", frozenset({("collection", "brief")})) not in samples(client)
    with Moves(client) as moves:
        client.get("/search", params={"q": "blue"})
    assert moves.by("diptych_stage_seconds_count", stage="search") == 1
    assert moves.by("diptych_stage_seconds_count", stage="decode") == 0
    assert moves.by("diptych_batch_size_sum", encoder="text") == 1


def test_known_labels_are_cache_hits(client: TestClient) -> None:
    with Moves(client) as moves:
        classify(client, "green", "yellow")
        classify(client, "yellow", "white")
    assert moves.by("diptych_label_cache_total", result="miss") == 3
    assert moves.by("diptych_label_cache_total", result="hit") == 1


def test_rollouts_have_metrics_and_are_counted_by_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def verified(folder: Path) -> VerifiedBundle:
        began.set()
        assert go_on.wait(WITHIN_S)
        raise CorruptBundle("a file has changed")

    def n_ended(client: TestClient, result: str) -> float:
        return samples(client)["diptych_rollouts_total", frozenset({("result", result)})]

    def activated(client: TestClient, result: str) -> None:
        client.post("/models/tiny/versions/2/activate")
        deadline = time.monotonic() + WITHIN_S
        while n_ended(client, result) == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with running_app(tmp_path, rollout="manual") as client:
        assert add_images(client, IMAGES, noise(1)).status_code == 200
        write_tiny_bundle(tmp_path / "model_repo", seed=1)
        with monkeypatch.context() as patched:
            patched.setattr(version_loader, "verify_bundle", verified)
            begun = client.post("/models/tiny/versions/2/activate").json()
            assert began.wait(WITHIN_S)
            cancelled = client.delete(f"/rollouts/{begun['id']}")
            assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
            assert (n_ended(client, "cancelled"), n_ended(client, "failed")) == (1, 0)
            go_on.set()
            activated(client, "failed")
        failed = client.get("/rollouts").json()["rollouts"][0]
        assert (failed["state"], failed["reason"]) == ("failed", "a file has changed")
        assert client.post("/embed", json={"input": [{"text": "red"}]}).json()["model"]["version"] == 1
        activated(client, "active")
        found = samples(client)
        loaded = {dict(labels)["version"] for name, labels in found if name == "diptych_model_info"}
        assert loaded == {"1", "2"}, "the former version is kept"
        assert found["diptych_rollout_state", frozenset({("name", "tiny"), ("version", "2")})] == 1
        assert found["diptych_rollback_lag_images", frozenset()] == 0


def test_disk_errors_are_counted_once_a_request_from_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: dict[str, DiptychError] = {
        "disk_full": StoreFull("no space is left"),
        "disk_read_only": StoreReadOnly("the disk takes no writes"),
    }
    with running_app(tmp_path) as client:
        before = samples(client)
        for reason, error in refused.items():
            assert before["diptych_rejected_total", frozenset({("reason", reason)})] == 0

            async def refuse(*args: Any, error: DiptychError = error, **options: Any) -> Any:
                raise error

            monkeypatch.setattr(SqlRowWriter, "put", refuse)
            for payloads in ([noise(1)], [noise(1), noise(2)]):
                with Moves(client) as moves:
                    add_images(client, IMAGES, *payloads)
                assert moves.by("diptych_rejected_total", reason=reason) == 1
                others = [moves.by("diptych_rejected_total", reason=one) for one in refused if one != reason]
                assert others == [0]


def classify(client: TestClient, *labels: str) -> None:
    files: list[Any] = [*files_of([picture("red")]), *(("labels", (None, label)) for label in labels)]
    assert client.post("/classify", files=files).status_code == 200


def embed_picture(client: TestClient, seed: int) -> None:
    answer = client.post("/embed", content=noise(seed), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200


def refuse(client: TestClient) -> None:
    """Send an image that the server refuses because its disk is full."""
    with patch.object(SqlRowWriter, "put", side_effect=StoreFull("no space is left")):
        assert add_images(client, IMAGES, noise(99)).status_code == 507
