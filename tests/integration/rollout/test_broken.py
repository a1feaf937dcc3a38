"""A version that is broken never serves: what served before serves on, and the reason is shown."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.bundle.manifest import MANIFEST_FILE
from integration.version_parts import counted_looks
from support.app import running_app
from support.image_requests import add_images
from support.pictures import picture
from support.tiny_bundle import EMBED_DIM, TINY, write_tiny_bundle

WITHIN_S = 30
POLL_S = 0.02
IMAGES = "/collections/default/images"
COLOURS = ("red", "green", "blue")
Patch = pytest.MonkeyPatch
Fault = Callable[[Path, Patch], object]


def golden_mismatch(repo: Path, _: Patch) -> None:
    write_tiny_bundle(repo, seed=1, precisions={"fp32": "broken"})


def no_disk(repo: Path, patch: Patch) -> None:
    usage, full = shutil.disk_usage, shutil.disk_usage("/")._replace(free=100)
    patch.setattr(
        "shutil.disk_usage", lambda path: full if Path(path) == repo.parent / "data" else usage(path)
    )
    write_tiny_bundle(repo, seed=1)


def no_room_for_a_copy(repo: Path, patch: Patch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    patch.setattr("fcntl.ioctl", full)
    patch.setattr("shutil.copyfileobj", full)
    write_tiny_bundle(repo, seed=1)


@contextmanager
def watching(folder: Path) -> Iterator[TestClient]:
    """Run a server with three images that looks for new versions all the time."""
    write_tiny_bundle(folder / "model_repo")
    with running_app(folder, poll_s=POLL_S) as client:
        added = add_images(client, IMAGES, *map(picture, COLOURS), items=[{"id": one} for one in COLOURS])
        assert added.status_code == 200
        yield client


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
    return found


def rollouts(client: TestClient) -> list[Any]:
    """All rollouts but the first, of the version that the server began with."""
    found: list[Any] = client.get("/rollouts").json()["rollouts"]
    return found[:-1]


def ended_rollouts(client: TestClient) -> list[Any]:
    return [one for one in rollouts(client) if one["finished_at"] is not None]


def tiny(client: TestClient) -> Any:
    (model,) = [one for one in client.get("/models").json()["models"] if one["name"] == TINY]
    return model


def require_serving(client: TestClient, version: int) -> None:
    """Requests and searches are answered by this version, with all images."""
    assert tiny(client)["active"] == version
    embedded = client.post("/embed", json={"input": [{"text": "red"}]}).json()
    assert (embedded["model"]["version"], len(embedded["data"][0]["embedding"])) == (version, EMBED_DIM)
    found = client.post("/search", json={"query": {"text": "red"}, "k": 9}).json()
    assert found["model"]["version"] == version
    ids = [hit["id"] for hit in found["hits"]]
    assert (ids[0], sorted(ids)) == ("red", sorted(COLOURS))
    assert client.get("/readyz").status_code == 200


def looked_again(client: TestClient, n_rollouts: int) -> None:
    """Let the server look twice more: it starts nothing."""
    with counted_looks() as n_looks:
        wait_for(lambda: n_looks() > 2)
    assert len(rollouts(client)) == n_rollouts


@pytest.mark.parametrize(
    ("publish", "why"),
    [
        (golden_mismatch, "golden image"),
        (no_disk, "are needed on the disk"),
        (no_room_for_a_copy, "no space is left on the disk of the data folder"),
    ],
)
def test_version_that_fails_is_named_with_the_reason_and_the_next_one_serves(
    publish: Fault, why: str, tmp_path: Path
) -> None:
    repo = tmp_path / "model_repo"
    with watching(tmp_path) as client:
        with Patch.context() as patch:
            publish(repo, patch)
            (failed,) = wait_for(lambda: ended_rollouts(client))
        assert (failed["state"], failed["target"]["version"]) == ("failed", 2)
        assert why in failed["reason"]
        require_serving(client, 1)
        looked_again(client, 1)  # a version that has failed is tried once
        (ignored,) = tiny(client)["ignored"]
        assert (ignored["version"], ignored["reason"]) == (2, failed["reason"])
        write_tiny_bundle(repo, seed=1)
        wait_for(lambda: tiny(client)["active"] == 3)
        require_serving(client, 3)


def test_version_whose_manifest_is_malformed_is_named_with_the_reason_and_not_loaded(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    why = "schema_version 99 is newer than"
    with watching(tmp_path) as client:
        scratch = tmp_path / "scratch"
        write_tiny_bundle(scratch)
        write_tiny_bundle(scratch, seed=1)
        manifest = scratch / TINY / "2" / MANIFEST_FILE
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 99}))
        (scratch / TINY / "2").rename(repo / TINY / "2")
        (ignored,) = wait_for(lambda: tiny(client)["ignored"])
        assert ignored["version"] == 2
        assert why in ignored["reason"]
        activated = client.post(f"/models/{TINY}/versions/2/activate")
        assert activated.status_code == 409
        assert why in activated.json()["detail"]
        looked_again(client, 0)
        require_serving(client, 1)


def test_folder_that_is_half_copied_is_loaded_once_it_is_complete(tmp_path: Path) -> None:
    repo, scratch = tmp_path / "model_repo", tmp_path / "scratch"
    write_tiny_bundle(scratch)
    write_tiny_bundle(scratch, seed=1)
    source, target = scratch / TINY / "2", repo / TINY / "2"
    with watching(tmp_path) as client:
        target.mkdir()
        files = sorted(source.iterdir())  # in the order of `cp -r`: the manifest in the middle
        for file in files[:-1]:
            shutil.copy(file, target / file.name)
            looked_again(client, 0)
        (target / files[-1].name).write_bytes(files[-1].read_bytes()[:-1])
        looked_again(client, 0)
        (ignored,) = tiny(client)["ignored"]
        assert files[-1].name in ignored["reason"]
        require_serving(client, 1)
        shutil.copy(files[-1], target)
        wait_for(lambda: tiny(client)["active"] == 2)
        require_serving(client, 2)


def test_other_content_under_the_same_number_is_told_from_what_served_before(tmp_path: Path) -> None:
    repo, scratch = tmp_path / "model_repo", tmp_path / "scratch"
    write_tiny_bundle(scratch, seed=1)
    with watching(tmp_path) as client:
        before = tiny(client)
        (repo / TINY / "1").rename(tmp_path / "away")
        (scratch / TINY / "1").rename(repo / TINY / "1")
        wait_for(lambda: tiny(client)["bundle"] != before["bundle"])
        after, previous = tiny(client), client.get("/models").json()["previous"]
        assert (after["active"], after["replaced"]) == (1, False)
        assert (previous["version"], previous["bundle"]) == (1, before["bundle"])
        target = {"name": TINY, "version": 1, "bundle": after["bundle"], "precision": "fp32"}
        assert rollouts(client)[0]["target"] == target
        client.post(f"/models/{TINY}/versions/1/activate")  # the way back
        wait_for(lambda: tiny(client)["bundle"] == before["bundle"])
        looked_again(client, 2)
        assert (tiny(client)["bundle"], tiny(client)["replaced"]) == (before["bundle"], True)
        require_serving(client, 1)
        shutil.rmtree(repo / TINY / "1")
        client.post(f"/models/{TINY}/versions/1/activate")  # back again, though neither is there any more
        wait_for(lambda: tiny(client)["bundle"] == after["bundle"])
        require_serving(client, 1)


def test_folder_of_models_that_goes_away_and_comes_back_is_watched_again(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    with watching(tmp_path) as client:
        repo.rename(tmp_path / "away")
        looked_again(client, 0)
        require_serving(client, 1)
        (tmp_path / "away").rename(repo)
        write_tiny_bundle(repo, seed=1)
        wait_for(lambda: tiny(client)["active"] == 2)
        require_serving(client, 2)
