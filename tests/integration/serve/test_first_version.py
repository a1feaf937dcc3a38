"""Which version a server serves first: what its data folder served last, else the newest servable one."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from diptych.errors import BundleError, ConfigError, DiptychError
from diptych.settings import Settings
from diptych.wiring.services import build
from support.app import FIXED_PLAN, running_app
from support.pictures import picture
from support.tiny_bundle import TINY, TinySizes, write_tiny_bundle

GRAPH = "image_encoder.onnx"


def served(client: TestClient) -> tuple[str, int]:
    model = client.post("/embed", json={"input": [{"text": "red"}]}).json()["model"]
    return model["name"], model["version"]


def _wait_for(client: TestClient, id: str) -> None:
    while not client.get(f"/rollouts/{id}").json()["finished_at"]:
        time.sleep(0.01)


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


def test_restart_serves_what_served_last_though_a_newer_version_is_there(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    with running_app(tmp_path) as client:
        assert served(client) == (TINY, 1)
    write_tiny_bundle(repo, seed=1)
    with running_app(tmp_path, rollout="manual") as client:
        assert served(client) == (TINY, 1)


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


def test_version_whose_number_has_other_content_now_is_served_as_it_was(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    with running_app(tmp_path) as client:
        before = client.post("/embed", json={"input": [{"text": "red"}]}).json()
    shutil.rmtree(repo)
    write_tiny_bundle(repo, seed=1)
    with running_app(tmp_path, rollout="manual") as client:
        assert client.post("/embed", json={"input": [{"text": "red"}]}).json() == before


def test_damaged_version_is_served_from_its_copy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    with running_app(tmp_path) as client:
        client.post("/collections/default/images", files=[("image", ("red.png", picture("red")))])
    graph = repo / TINY / "1" / GRAPH
    graph.write_bytes(graph.read_bytes()[::-1])
    with running_app(tmp_path) as client:
        assert served(client) == (TINY, 1)
        assert len(client.get("/search", params={"q": "red"}).json()["hits"]) == 1
    assert "tiny/1 is damaged in the model repository, its copy is loaded instead: " in caplog.text


def test_damaged_version_is_replaced_by_the_newest_sound_one_of_its_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repo = tmp_path / "model_repo"
    for name in (TINY, "other"):
        for seed in (0, 1):
            write_tiny_bundle(repo, name, seed=seed)
    with running_app(tmp_path, model="other") as client:
        assert served(client) == ("other", 2)
        client.post("/collections/default/images", files=[("image", ("red.png", picture("red")))])
    _damage(tmp_path, "other/2")
    with running_app(tmp_path, model="other") as client:
        assert served(client) == ("other", 1)
        _wait_for_all(client)
        assert len(client.get("/search", params={"q": "red"}).json()["hits"]) == 1
        (model,) = (one for one in client.get("/models").json()["models"] if one["name"] == "other")
        (ignored,) = model["ignored"]
        assert (ignored["version"], GRAPH in ignored["reason"]) == (2, True)
    assert "other/2, which was served last, is damaged: " in caplog.text
    assert "other/1 is served instead of other/2, which is damaged" in caplog.text


def test_damaged_version_without_another_one_is_replaced_by_what_served_before(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    for name in (TINY, "other"):
        write_tiny_bundle(repo, name, seed=len(name))
    with running_app(tmp_path) as client:
        client.post("/collections/default/images", files=[("image", ("red.png", picture("red")))])
        _wait_for(client, client.post("/models/other/versions/1/activate").json()["id"])
        before = client.get("/search", params={"q": "red"}).json()
        assert before["model"]["name"] == "other"
    whole = _damage(tmp_path, "other/1")
    with running_app(tmp_path, version=1) as client:
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


def test_collections_move_to_the_model_that_a_start_names_and_are_searched_meanwhile(tmp_path: Path) -> None:
    red = [("image", ("red.png", picture("red")))]
    with running_app(tmp_path) as client:
        client.post("/collections", json={"name": "bare", "keep": "none"}).raise_for_status()
        for collection in ("default", "bare"):
            client.post(f"/collections/{collection}/images", files=red).raise_for_status()
    shutil.rmtree(tmp_path / "model_repo" / TINY)
    write_tiny_bundle(tmp_path / "model_repo", "new", sizes=TinySizes(embed_dim=24, image_size=64))

    def found(collection: str) -> tuple[str, int]:
        answer = client.get("/search", params={"q": "red", "collection": collection}).json()
        return answer["model"]["name"], len(answer["hits"])

    with running_app(tmp_path, model="new") as client:
        while served(client) != ("new", 1):
            assert found("default") in {(TINY, 1), ("new", 1)}
        assert found("default") == ("new", 1)
        assert found("bare") == (TINY, 1)
        assert "keep" in client.get("/collections/bare").json()["stays"]
        assert client.post("/collections", json={"name": "more"}).json()["model"] == "new"


def ungated(repo: Path) -> None:
    write_tiny_bundle(repo, ungated=True)


def other_vectors(repo: Path) -> None:
    write_tiny_bundle(repo, precisions={"fp32": "broken"})


def changed_byte(repo: Path) -> None:
    graph = repo / TINY / str(write_tiny_bundle(repo)) / "image_encoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")


def newer_schema(repo: Path) -> None:
    manifest = repo / TINY / str(write_tiny_bundle(repo)) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 99}))


BAD = [
    pytest.param(ungated, "it was built ungated, its parity is unknown: see --allow-ungated", id="ungated"),
    pytest.param(other_vectors, "fp32: golden image", id="golden mismatch"),
    pytest.param(newer_schema, "schema_version 99 is newer than", id="newer schema"),
]


@pytest.mark.parametrize(("publish", "why"), BAD)
def test_new_data_folder_serves_the_newest_servable_version(
    publish: Callable[[Path], None], why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    publish(repo)
    with running_app(tmp_path) as client:
        (model,) = client.get("/models").json()["models"]
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warning.startswith(f"{TINY}/2 is ignored, {TINY}/1 is served instead: ")
    assert why in warning
    (ignored,) = model["ignored"]
    assert (model["active"], ignored["version"]) == (1, 2)
    assert why in ignored["reason"]


def test_requested_version_that_cannot_be_served_is_an_error_with_the_reason(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    other_vectors(tmp_path / "repo")
    given = {"model_repo": tmp_path / "repo", "model": TINY, "data_dir": tmp_path / "data", "version": 2}
    with pytest.raises(BundleError, match="fp32: golden image"):
        build(Settings(**given, **FIXED_PLAN))


def test_repository_without_a_servable_version_is_an_error_that_names_each(tmp_path: Path) -> None:
    for publish in (ungated, changed_byte, other_vectors, newer_schema):
        publish(tmp_path / "repo")
    given = {"model_repo": tmp_path / "repo", "model": TINY, "data_dir": tmp_path / "data"}
    with pytest.raises(DiptychError) as raised:
        build(Settings(**given, **FIXED_PLAN))
    said = str(raised.value).split("; tiny/")
    for reason, version, why in zip(
        said,
        (4, 3, 2, 1),
        ("schema_version 99", "fp32: golden image", "sha256 is", "--allow-ungated"),
        strict=True,
    ):
        assert f"{version} cannot be served here: " in reason
        assert why in reason


def test_ungated_version_is_served_if_allowed(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    ungated(tmp_path / "model_repo")
    with running_app(tmp_path, allow_ungated=True) as client:
        (model,) = client.get("/models").json()["models"]
    assert (model["active"], model["ignored"]) == (2, [])
