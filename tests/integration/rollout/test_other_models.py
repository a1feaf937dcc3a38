"""A running server moves to a version of other sizes or another family, and back."""

import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.app import running_app
from support.image_requests import files_of
from support.pictures import picture
from support.tiny_bundle import EMBED_DIM, TINY, TinySizes, write_tiny_bundle
from support.version_vectors import VersionVectors

COLOURS = ("red", "green", "blue")
WITHIN_S = 60


def activate(client: TestClient, version: int) -> None:
    """Activate a version, and wait until it serves."""
    rollout = client.post(f"/models/tiny/versions/{version}/activate").json()
    deadline = time.monotonic() + WITHIN_S
    while rollout["state"] != "active":
        assert rollout["state"] not in {"failed", "cancelled"}, rollout
        assert time.monotonic() < deadline, rollout
        time.sleep(0.01)
        rollout = client.get(f"/rollouts/{rollout['id']}").json()


def require_whole(client: TestClient, expected: VersionVectors, version: int, embed_dim: int) -> None:
    """Embed, classify and search, each with this version, and find every picture by its own picture."""
    text = client.post("/embed", json={"input": [{"text": "red"}]}).json()
    assert (text["model"]["version"], len(text["data"][0]["embedding"])) == (version, embed_dim)
    assert text["data"][0]["embedding"] == pytest.approx(expected.text("red"), abs=1e-5)
    labels = [("labels", (None, '["red", "blue"]'))]
    image = [("image", ("red.png", picture("red")))]
    classified = client.post("/classify", files=[*image, *labels]).json()
    assert classified["model"]["version"] == version
    assert {one["label"] for one in classified["data"][0]["predictions"]} == {"red", "blue"}
    for colour in COLOURS:
        found = client.post("/search", files=[("image", (f"{colour}.png", picture(colour)))]).json()
        assert (found["model"]["version"], len(found["hits"])) == (version, len(COLOURS))
        assert found["hits"][0]["cosine"] == pytest.approx(1, abs=1e-5)


def test_what_the_previous_version_takes_is_shown(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    write_tiny_bundle(repo, seed=1)
    folder = repo / TINY / "1"
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    with running_app(tmp_path, rollout="manual", version=1) as client:

        def previous() -> Any:
            return client.get("/models").json()["previous"]

        client.post("/collections/default/images", files=files_of([picture(one) for one in COLOURS]))
        activate(client, 2)
        assert previous()["weight_bytes"] == sizes["image_encoder.onnx"] + sizes["text_encoder.onnx"]
        assert previous()["bundle_bytes"] == sum(sizes.values())
        assert previous()["vector_bytes"] == previous()["memory_bytes"] == 3 * 4 * EMBED_DIM


@pytest.mark.parametrize(
    "sizes",
    [
        TinySizes(image_size=48, more_words=("picture", "something")),
        TinySizes(embed_dim=8, image_size=16, context_length=40, family="siglip"),
    ],
)
def test_version_of_other_sizes_or_family_is_moved_to_and_back(tmp_path: Path, sizes: TinySizes) -> None:
    repo = tmp_path / "model_repo"
    with running_app(tmp_path, rollout="manual") as client:
        added = client.post("/collections/default/images", files=files_of([picture(one) for one in COLOURS]))
        assert added.status_code == 200
        require_whole(client, VersionVectors(repo, TINY, 1), 1, EMBED_DIM)
        write_tiny_bundle(tmp_path / "model_repo", seed=1, sizes=sizes)
        activate(client, 2)
        require_whole(client, VersionVectors(repo, TINY, 2), 2, sizes.embed_dim)
        activate(client, 1)
        require_whole(client, VersionVectors(repo, TINY, 1), 1, EMBED_DIM)
