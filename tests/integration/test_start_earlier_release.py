"""A data folder of an earlier release is served without embedding an image again, also by a later version."""

import asyncio
import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.adapters.sqlite.store import DATABASE
from diptych.bundle.manifest import ManifestDraft, bundle_digest, identity, legacy_identity
from diptych.bundle.repository import ModelRepository
from diptych.cli.process import gallery
from diptych.cli.process.gallery import Gallery
from diptych.settings import Settings
from diptych.wiring.services import load
from support.app import FIXED_PLAN, running_app
from support.pictures import picture
from support.tiny_bundle import TINY, write_tiny_bundle

COLOURS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with a model repository, and with data as an earlier release left it."""
    write_tiny_bundle(tmp_path / "model_repo", precisions={"fp32": "equal", "int8": "rounded"})
    with running_app(tmp_path) as client:
        client.post("/collections", json={"name": "small"}).raise_for_status()
        client.patch("/collections/small", json={"precision": "int8"}).raise_for_status()
        for collection in ("default", "small"):
            for colour in COLOURS:
                files = {"image": (colour, picture(colour), "image/png")}
                client.post(f"/collections/{collection}/images", files=files).raise_for_status()
    as_earlier(tmp_path)
    return tmp_path


def as_earlier(folder: Path) -> None:
    """Give the vectors the identities of earlier releases, and forget what those did not know."""
    repository = ModelRepository(folder / "model_repo")
    manifest, digest = repository.manifest(TINY, 1), bundle_digest(repository.folder(TINY, 1))
    with closing(sqlite3.connect(folder / "data" / DATABASE)) as db, db:
        for precision in manifest.precisions:
            values = legacy_identity(digest, precision, "exact"), identity(manifest, precision, "exact")
            assert db.execute("UPDATE identities SET identity = ? WHERE identity = ?", values).rowcount == 1
        for column in ("model", "version", "precision", "decode", "bundle"):
            db.execute(f"UPDATE identities SET {column} = NULL")
        db.execute(
            "UPDATE collections SET (identity, previous_identity, version, bundle) = (NULL, NULL, NULL, NULL)"
        )
        db.execute("DELETE FROM serving")
    shutil.rmtree(folder / "data" / "models", ignore_errors=True)


def publish_again(folder: Path) -> None:
    """Publish version 1 again with another card, as `export --add-proof-set` does, and remove version 1."""
    repository = ModelRepository(folder / "model_repo")
    manifest, source = repository.manifest(TINY, 1), repository.folder(TINY, 1)
    made_from = {"version": f"{TINY}/1", "manifest_sha256": bundle_digest(source)}
    with repository.staging(TINY) as staged:
        for file in manifest.files:
            shutil.copyfile(source / file, staged / file)
        (staged / "MODEL_CARD.md").write_text("Another card.")
        stated = {key: getattr(manifest, key) for key in ManifestDraft.model_fields}
        repository.publish(TINY, staged, ManifestDraft(**{**stated, "extra": {"made_from": made_from}}))
    shutil.rmtree(source)


def encoders_that_ran(client: TestClient) -> set[str]:
    lines = client.get("/metrics").text.splitlines()
    return {line.split('"')[1] for line in lines if line.startswith("diptych_batch_size_count{")}


def found(client: TestClient, collection: str) -> tuple[dict[str, Any], int]:
    """Return the model of a search's answer, and how many images it finds."""
    answer = client.get("/search", params={"q": "red", "collection": collection}).json()
    return answer["model"], len(answer["hits"])


def check_served(client: TestClient, version: int) -> None:
    """Check that all images are found by this version, and that none was embedded for it."""
    for collection, precision in (("default", "fp32"), ("small", "int8")):
        model, n_hits = found(client, collection)
        assert (model["version"], model["precision"], n_hits) == (version, precision, len(COLOURS))
    assert encoders_that_ran(client) == {"text", "collection_text_int8"}  # and none for images
    assert {one["stays"] for one in client.get("/collections").json()["collections"]} == {""}


def test_version_that_made_the_vectors_serves_them(folder: Path) -> None:
    for _ in range(2):
        with running_app(folder, precision="fp32") as client:
            check_served(client, 1)


def test_version_that_was_made_from_it_serves_them(folder: Path) -> None:
    publish_again(folder)
    for _ in range(2):
        with running_app(folder, precision="fp32") as client:
            check_served(client, 2)


def test_version_that_serves_outlives_its_model_repository(folder: Path) -> None:
    with running_app(folder, precision="fp32") as client:
        check_served(client, 1)
    shutil.rmtree(folder / "model_repo" / TINY / "1")
    with running_app(folder, precision="fp32") as client:
        check_served(client, 1)


def test_collection_of_a_model_that_is_gone_can_be_moved_to_the_one_that_serves(folder: Path) -> None:
    replace_model(folder / "model_repo")
    with running_app(folder, model="other") as client:
        refused = client.get("/search", params={"q": "red"})
        assert refused.status_code == 409
        assert "belongs to model 'tiny', which is not served here" in refused.json()["detail"]
        assert "`diptych collections configure default --model NAME`" in refused.json()["detail"]
        client.patch("/collections/default", json={"model": "other"}).raise_for_status()
        wait_for_rollout(client, "default")
        model, n_hits = found(client, "default")
        assert (model["name"], n_hits) == ("other", len(COLOURS))


def test_gallery_of_a_model_that_is_gone_moves_to_the_one_that_serves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "RETRY_S", 0.01)
    pictures = folder / "pictures"
    pictures.mkdir()
    (pictures / "red.png").write_bytes(picture("red"))
    (pictures / "items.jsonl").write_text(json.dumps({"file": "red.png", "id": "red"}))

    async def fill(model: str) -> None:
        places = {"model_repo": folder / "model_repo", "data_dir": folder / "data"}
        services = await load(Settings(**places, **FIXED_PLAN, model=model))
        await Gallery(pictures).fill(services)
        await services.close()

    asyncio.run(fill(TINY))
    as_earlier(folder)
    replace_model(folder / "model_repo")
    asyncio.run(fill("other"))
    with running_app(folder, model="other") as client:
        wait_for_rollout(client, "gallery")
        model, n_hits = found(client, "gallery")
        assert (model["name"], n_hits) == ("other", 1)


def wait_for_rollout(client: TestClient, collection: str) -> None:
    while client.get(f"/collections/{collection}").json()["rollout"]:
        time.sleep(0.01)


def replace_model(repo: Path) -> None:
    shutil.rmtree(repo / TINY)
    write_tiny_bundle(repo, "other")
