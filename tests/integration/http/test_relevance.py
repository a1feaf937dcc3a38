"""The relevance of search hits as callers see it, on the tiny bundle."""

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.bundle.calibration import SUFFIX
from support.app import running_app
from support.calibrations import MAP, write_tiny_calibration
from support.image_requests import add_images, data_uri
from support.pictures import picture
from support.tiny_bundle import write_tiny_bundle

COLOURS = ["red", "green", "blue", "yellow"]
READ_WITHIN_S = 30


def fill(client: TestClient) -> None:
    items = [{"id": colour, "metadata": {"warm": colour in {"red", "yellow"}}} for colour in COLOURS]
    pictures = [picture(colour) for colour in COLOURS]
    assert add_images(client, "/collections/default/images", *pictures, items=items).status_code == 200


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("relevance")
    write_tiny_bundle(folder / "model_repo")
    write_tiny_calibration(folder / "model_repo")
    with running_app(folder) as client:
        fill(client)
        yield client


def search(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/search", json={"query": {"text": "red"}} | body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def relevance(found: dict[str, Any]) -> dict[str, float | None]:
    return {hit["id"]: hit["relevance"] for hit in found["hits"]}


def test_every_hit_has_a_relevance_that_falls_with_its_cosine(client: TestClient) -> None:
    values = list(relevance(search(client)).values())
    assert len(values) == len(COLOURS)
    assert values == sorted(values, reverse=True)
    assert all(0 < value < 1 for value in values)
    assert values[0] > 0.8
    assert values[-1] < 0.2


def test_hits_below_the_bound_are_left_out(client: TestClient) -> None:
    everything = relevance(search(client))
    kept = relevance(search(client, min_relevance=0.5))
    assert kept == {id: value for id, value in everything.items() if value >= 0.5}
    assert list(kept) == ["red"]
    assert search(client, min_relevance=1)["hits"] == []


def test_all_forms_of_a_request_take_the_bound(client: TestClient) -> None:
    by_query = client.get("/search", params={"q": "red", "min_relevance": 0.5})
    by_form = client.post("/search", files=[("text", (None, "red")), ("min_relevance", (None, "0.5"))])
    assert [hit["id"] for hit in by_query.json()["hits"]] == ["red"]
    assert [hit["id"] for hit in by_form.json()["hits"]] == ["red"]


@pytest.mark.parametrize("bound", [-0.1, 1.1, "much"])
def test_a_bound_outside_of_0_to_1_is_refused(client: TestClient, bound: object) -> None:
    answer = client.post("/search", json={"query": {"text": "red"}, "min_relevance": bound})
    assert answer.status_code == 422
    assert "min_relevance" in answer.text


def test_facets_count_the_hits_that_remain(client: TestClient) -> None:
    (facet,) = search(client, min_relevance=0.5, facets=["warm"])["facets"]
    assert (facet["n_hits"], facet["values"]) == (1, [{"value": True, "count": 1}])


def test_hits_are_judged_among_the_images_that_pass_the_filter(client: TestClient) -> None:
    everything, cold = relevance(search(client)), relevance(search(client, filter={"warm": False}))
    for id, value in cold.items():
        assert value is not None
        assert value > (everything[id] or 0)


def test_a_kind_of_query_without_a_map_has_no_relevance(client: TestClient) -> None:
    by_image = {"query": {"image": data_uri(picture("red"))}}
    assert set(relevance(search(client, **by_image)).values()) == {None}
    answer = client.post("/search", json=by_image | {"min_relevance": 0.5})
    assert answer.status_code == 422
    assert "image queries have no relevance by tiny/1" in answer.json()["detail"]


def test_a_version_without_calibration_says_how_to_get_one(tmp_path: Path) -> None:
    with running_app(tmp_path) as client:
        fill(client)
        assert set(relevance(search(client)).values()) == {None}
        answer = client.get("/search", params={"q": "red", "min_relevance": 0.5})
        assert answer.status_code == 422
        assert answer.json()["detail"].endswith(
            "`diptych-train calibrate tiny/1` gives them one; if the version has left the model repository, "
            "put it back first, or only tiny/1.calibration.npz"
        )


def test_models_show_how_reliable_relevance_is(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    for seed in range(3):
        write_tiny_bundle(repo, seed=seed)
    write_tiny_calibration(repo, 1)
    write_tiny_calibration(repo, 2, of=1)
    shown = {"n_background": 200, "text": {"error": 0.04, "n_queries": 60, "ignored": None}, "image": None}
    with running_app(tmp_path, version=1) as client:
        (model,) = client.get("/models").json()["models"]
        assert (model["active"], model["calibration"]) == (1, shown)
        versions = client.get("/models/tiny").json()["versions"]
        assert [one["calibration"] for one in versions] == [shown, None, None]
        write_tiny_calibration(repo, 3, kinds=("image",))
        calibration = client.get("/models/tiny/versions/3").json()["calibration"]
        assert calibration == {"n_background": 200, "text": None, "image": shown["text"]}


def test_a_calibration_that_is_worth_nothing_gives_no_relevance_and_says_why(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    random = MAP.model_copy(update={"error": 0.5})
    write_tiny_calibration(tmp_path / "model_repo", relevance=random)
    with running_app(tmp_path) as client:
        fill(client)
        assert set(relevance(search(client)).values()) == {None}
        reason = "its calibration error is 0.5, more than 0.2"
        (model,) = client.get("/models").json()["models"]
        assert model["calibration"]["text"] == {"error": 0.5, "n_queries": 60, "ignored": reason}
        answer = client.get("/search", params={"q": "red", "min_relevance": 0.5})
        assert answer.status_code == 422
        assert answer.json()["detail"].endswith(reason)


def test_a_running_server_follows_the_file(tmp_path: Path) -> None:
    with running_app(tmp_path, poll_s=0.1) as client:
        fill(client)
        repo = tmp_path / "model_repo"
        write_tiny_calibration(repo)
        require_relevance(client, known=True)
        write_tiny_calibration(repo, relevance=MAP.model_copy(update={"error": 0.5}))
        require_relevance(client, known=False)


def require_relevance(client: TestClient, *, known: bool) -> None:
    deadline = time.monotonic() + READ_WITHIN_S
    while (None not in relevance(search(client)).values()) != known:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_calibration_of_other_vectors_is_refused_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    write_tiny_bundle(repo, seed=1)
    write_tiny_calibration(repo, 2, of=1)
    with caplog.at_level(logging.WARNING), running_app(tmp_path) as client:
        fill(client)
        assert set(relevance(search(client)).values()) == {None}
    assert "search hits of tiny/2 have no relevance: tiny/2.calibration.npz: made for other vectors" in (
        caplog.text
    )


def test_a_version_that_left_the_repository_keeps_its_relevance(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    write_tiny_calibration(tmp_path / "model_repo")
    with running_app(tmp_path) as client:
        fill(client)
        before = relevance(search(client))
        require_kept(tmp_path / "data" / "models")
    shutil.rmtree(tmp_path / "model_repo")
    (tmp_path / "model_repo").mkdir()
    with running_app(tmp_path) as client:
        assert relevance(search(client)) == before
        assert None not in before.values()


def test_a_version_that_left_before_its_calibration_was_kept_has_none_until_the_file_is_put_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    file = write_tiny_calibration(tmp_path / "model_repo")
    models = tmp_path / "data" / "models"
    with running_app(tmp_path) as client:
        fill(client)
        require_kept(models)
    shutil.rmtree(tmp_path / "model_repo")
    (tmp_path / "model_repo" / "tiny").mkdir(parents=True)
    (kept,) = models.glob(f"*{SUFFIX}")
    put_back = kept.read_bytes()
    kept.unlink()  # as an earlier release left it
    with caplog.at_level(logging.WARNING), running_app(tmp_path, poll_s=0.1) as client:
        assert set(relevance(search(client)).values()) == {None}
        file.write_bytes(put_back)
        require_relevance(client, known=True)
    assert "search hits of tiny/1 have no relevance: the version has left the model repository" in caplog.text
    with running_app(tmp_path):
        require_kept(models)
    assert kept.read_bytes() == put_back


def require_kept(models: Path) -> None:
    """Wait for the copy of a calibration, which a server makes after it has started."""
    deadline = time.monotonic() + READ_WITHIN_S
    while not [*models.glob(f"*{SUFFIX}")]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
