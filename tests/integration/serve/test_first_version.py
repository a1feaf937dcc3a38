"""Which version a server serves first: what its data folder served last."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.errors import ConfigError, CorruptBundle
from support.app import running_app
from support.pictures import picture
from support.tiny_bundle import TINY, TinySizes, write_tiny_bundle

GRAPH = "image_encoder.onnx"


def served(client: TestClient) -> tuple[str, int]:
    model = client.post("/embed", json={"input": [{"text": "red"}]}).json()["model"]
    return model["name"], model["version"]


def test_restart_serves_what_served_last_though_a_newer_version_is_there(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    with running_app(tmp_path) as client:
        assert served(client) == (TINY, 1)
    write_tiny_bundle(repo, seed=1)
    with running_app(tmp_path, rollout="manual") as client:
        assert served(client) == (TINY, 1)


def test_start_that_is_given_another_name_moves_to_it_and_the_same_name_changes_nothing(
    tmp_path: Path,
) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    write_tiny_bundle(tmp_path / "model_repo", "other")
    with running_app(tmp_path, model="other") as client:
        assert served(client) == ("other", 1)
        activated = client.post(f"/models/{TINY}/versions/1/activate").json()
        _wait_for(client, activated["id"])
    with running_app(tmp_path, model="other", rollout="manual") as client:
        assert served(client) == (TINY, 1)
        assert all(one["finished_at"] for one in client.get("/rollouts").json()["rollouts"])
    with running_app(tmp_path, model=TINY) as client:
        assert served(client) == (TINY, 1)
    with running_app(tmp_path, model="other") as client:
        _wait_for(client, client.get("/rollouts").json()["rollouts"][0]["id"])
        assert served(client) == ("other", 1)


def _wait_for(client: TestClient, id: str) -> None:
    while not client.get(f"/rollouts/{id}").json()["finished_at"]:
        time.sleep(0.01)


def test_version_that_left_the_repository_is_served_from_the_data_folder(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    with running_app(tmp_path) as client:
        client.post("/collections/default/images", files=[("image", ("red.png", picture("red")))])
    shutil.rmtree(tmp_path / "model_repo" / TINY)
    with running_app(tmp_path) as client:
        assert served(client) == (TINY, 1)
        (model,) = client.get("/models").json()["models"]
        assert (model["name"], model["active"]) == (TINY, 1)
        assert len(client.get("/search", params={"q": "red"}).json()["hits"]) == 1


def test_model_that_left_the_repository_serves_until_another_has_its_collections(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    with running_app(tmp_path) as client:
        client.post("/collections/default/images", files=[("image", ("red.png", picture("red")))])
    shutil.rmtree(tmp_path / "model_repo" / TINY)
    write_tiny_bundle(tmp_path / "model_repo", "other", sizes=TinySizes(embed_dim=24, image_size=48))
    with running_app(tmp_path, model="other") as client:
        (move,) = (
            one for one in client.get("/rollouts").json()["rollouts"] if one["target"]["name"] == "other"
        )
        _wait_for(client, move["id"])
        assert served(client) == ("other", 1)
        found = client.get("/search", params={"q": "red"}).json()
        assert (found["model"]["name"], len(found["hits"])) == ("other", 1)
        back = client.post(f"/models/{TINY}/versions/1/activate").json()
        _wait_for(client, back["id"])
        assert served(client) == (TINY, 1)


def test_collections_of_a_model_that_is_gone_are_embedded_for_the_one_that_serves(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    with running_app(tmp_path) as client:
        client.post("/collections/default/images", files=[("image", ("red.png", picture("red")))])
        client.post("/collections", json={"name": "bare", "keep": "none"})
        client.post("/collections/bare/images", files=[("image", ("red.png", picture("red")))])
    shutil.rmtree(tmp_path / "model_repo" / TINY)
    shutil.rmtree(tmp_path / "data" / "models")
    write_tiny_bundle(tmp_path / "model_repo", "other", seed=1)
    with running_app(tmp_path, model="other") as client:
        _wait_for_all(client)
        while client.get("/collections/default").json()["state"] == "embedding":
            time.sleep(0.01)
        found = client.get("/search", params={"q": "red"}).json()
        assert (found["model"]["name"], len(found["hits"])) == ("other", 1)
        bare = client.get("/collections/bare").json()
        assert (bare["state"], bare["n_images"]) == ("unserved", 1)
        refused = client.get("/search", params={"q": "red", "collection": "bare"})
        assert refused.status_code == 409
        assert "no images that could be embedded again" in refused.json()["detail"]


def test_version_whose_number_has_other_content_now_is_served_as_it_was(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    with running_app(tmp_path) as client:
        before = client.post("/embed", json={"input": [{"text": "red"}]}).json()
    shutil.rmtree(repo)
    write_tiny_bundle(repo, seed=1)
    with running_app(tmp_path, rollout="manual") as client:
        assert client.post("/embed", json={"input": [{"text": "red"}]}).json() == before


@pytest.mark.parametrize("n_bytes", [None, 9])  # of the same size, cut short
def test_damaged_version_is_served_from_its_copy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, n_bytes: int | None
) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    with running_app(tmp_path) as client:
        client.post("/collections/default/images", files=[("image", ("red.png", picture("red")))])
    graph = repo / TINY / "1" / GRAPH
    graph.write_bytes(graph.read_bytes()[::-1][:n_bytes])
    with running_app(tmp_path) as client:
        assert served(client) == (TINY, 1)
        assert len(client.get("/search", params={"q": "red"}).json()["hits"]) == 1
    assert "tiny/1 is damaged in the model repository, its copy is loaded instead: " in caplog.text


@pytest.mark.parametrize("settings", [{}, {"version": 2}])
def test_damaged_version_is_replaced_by_the_newest_sound_one_of_its_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, Any]
) -> None:
    repo = tmp_path / "model_repo"
    for name in (TINY, "other"):
        for seed in (0, 1):
            write_tiny_bundle(repo, name, seed=seed)
    with running_app(tmp_path, model="other") as client:
        assert served(client) == ("other", 2)
        client.post("/collections/default/images", files=[("image", ("red.png", picture("red")))])
    _damage(tmp_path, "other/2")
    with running_app(tmp_path, model="other", **settings) as client:
        assert served(client) == ("other", 1)
        _wait_for_all(client)
        assert len(client.get("/search", params={"q": "red"}).json()["hits"]) == 1
        (model,) = (one for one in client.get("/models").json()["models"] if one["name"] == "other")
        (ignored,) = model["ignored"]
        assert (ignored["version"], GRAPH in ignored["reason"]) == (2, True)
    assert "other/2, which was served last, is damaged: " in caplog.text
    assert "other/1 is served instead of other/2, which is damaged" in caplog.text


@pytest.mark.parametrize("settings", [{}, {"version": 1}, {"model": "other"}])
def test_damaged_version_without_another_one_is_replaced_by_what_served_before(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    repo = tmp_path / "model_repo"
    for name in (TINY, "other"):
        write_tiny_bundle(repo, name, seed=len(name))
    with running_app(tmp_path) as client:
        client.post("/collections/default/images", files=[("image", ("red.png", picture("red")))])
        _wait_for(client, client.post("/models/other/versions/1/activate").json()["id"])
        before = client.get("/search", params={"q": "red"}).json()
        assert before["model"]["name"] == "other"
    whole = _damage(tmp_path, "other/1")
    with running_app(tmp_path, **settings) as client:
        assert served(client) == (TINY, 1)
        _wait_for_all(client)
        found = client.get("/search", params={"q": "red"}).json()
        assert (found["model"]["name"], len(found["hits"])) == (TINY, 1)
    (repo / "other" / "1" / GRAPH).write_bytes(whole)
    with running_app(tmp_path) as client:
        assert served(client) == (TINY, 1)
        back = client.post("/models/other/versions/1/activate").json()
        _wait_for(client, back["id"])
        assert client.get("/search", params={"q": "red"}).json() == before


def test_read_only_server_serves_no_other_version_than_the_damaged_one(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    for seed in (0, 1):
        write_tiny_bundle(repo, seed=seed)
    with running_app(tmp_path) as client:
        assert served(client) == (TINY, 2)
    _damage(tmp_path, f"{TINY}/2")
    refusal = pytest.raises(CorruptBundle, match="a read-only server serves no other version: restore")
    with refusal, running_app(tmp_path, read_only=True):
        pass


def test_failure_of_this_machine_ends_the_start_though_another_version_is_there(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    write_tiny_bundle(repo, seed=1, ungated=True)
    with running_app(tmp_path, allow_ungated=True) as client:
        assert served(client) == (TINY, 2)
    with pytest.raises(ConfigError, match="tiny/2 cannot be served here"), running_app(tmp_path):
        pass


def test_data_folder_without_any_version_that_can_be_served_is_an_error(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    with running_app(tmp_path):
        pass
    _damage(tmp_path, f"{TINY}/1")
    refusal = pytest.raises(ConfigError, match=f"tiny/1, which was served last, is damaged, and: .*{GRAPH}")
    with refusal, running_app(tmp_path):
        pass


def _damage(folder: Path, version: str) -> bytes:
    """Damage a version in the model repository and its copy in the data folder; return what it was."""
    whole = (folder / "model_repo" / version / GRAPH).read_bytes()
    for graph in (*folder.glob(f"model_repo/{version}/{GRAPH}"), *folder.glob(f"data/models/*/{GRAPH}")):
        if graph.read_bytes() == whole:
            graph.write_bytes(b"damaged")
    return whole


def _wait_for_all(client: TestClient) -> None:
    for rollout in client.get("/rollouts").json()["rollouts"]:
        _wait_for(client, rollout["id"])
