"""EXIF as callers see it: of adds by a form, by a job and by the command line, and after another start."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from diptych.cli import main
from support.image_requests import add_images
from support.photographs import BASIC, PLACE, photograph
from support.server import serve
from support.tars import tar_of
from support.tiny_bundle import TINY, write_tiny_bundle

IMAGES = "/collections/pets/images"


def exif_by_id(client: httpx.Client) -> dict[str, Any]:
    return {one["id"]: one["metadata"].get("exif") for one in client.get(IMAGES).json()["images"]}


def test_every_way_to_add_reads_exif_and_a_start_with_place_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "IMG_1.jpg").write_bytes(photograph((200, 0, 0)))
    where = (tmp_path / "model_repo", TINY, tmp_path / "data")
    with serve(*where) as server, httpx.Client(base_url=server.url) as client:
        client.post("/collections", json={"name": "pets"})
        given = [{"id": "form", "metadata": {"exif": {"camera": "mine"}}}]
        add_images(client, IMAGES, photograph((0, 200, 0)), items=given)
        archive = tar_of({"job.jpg": photograph((0, 0, 200))})
        job = client.post(IMAGES, content=archive, headers={"content-type": "application/x-tar"})
        while client.get(job.headers["location"]).json()["finished_at"] is None:
            time.sleep(0.02)
        monkeypatch.setenv("DIPTYCH_URL", server.url)
        assert main(["add", str(folder), "--collection", "pets", "--id-from", "name"]) == 0
        found = exif_by_id(client)
        assert found.pop("form") == BASIC | {"camera": "mine"}
        assert len(found) == 2
        assert all(exif == BASIC for exif in found.values())
        canon = json.dumps({"exif.camera": "Canon EOS R5"})
        assert client.get(IMAGES, params={"filter": canon}).json()["total"] == 2
        refused = client.patch(f"{IMAGES}/form", json={"metadata": {"exif": {"taken_at": "yesterday"}}})
        assert (refused.status_code, "exif.taken_at" in refused.text) == (422, True)
    with serve(*where, "--exif", "place") as server, httpx.Client(base_url=server.url) as client:
        deadline = time.monotonic() + 30
        while not all("latitude" in exif for exif in exif_by_id(client).values()):
            assert time.monotonic() < deadline, exif_by_id(client)
            time.sleep(0.02)
        assert exif_by_id(client)["form"] == BASIC | PLACE | {"camera": "mine"}
        monkeypatch.setenv("DIPTYCH_URL", server.url)
        capsys.readouterr()
        assert main(["add", str(folder), "--collection", "pets", "--id-from", "name", "--replace"]) == 0
        assert "unchanged" in capsys.readouterr().out
