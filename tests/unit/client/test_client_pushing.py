"""What `push_model` sends, what it refuses to send, and how it tells of the answer."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from diptych_client import (
    Client,
    InvalidCall,
    PushedVersion,
    UnreadableFile,
)
from support.fake_api import FakeApi

FILES = {"image_encoder.onnx": b"graph" * 200_000, f"{'n' * 120}.bin": b"", "golden.npz": b"x" * 512}
PUSHED = {"name": "mine", "version": 3, "created": True, "active": False, "n_files": 3, "n_bytes": 1_000_512}
CALL = "POST /models/mine/versions"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    write_manifest(tmp_path, {"name": "mine", "version": 7, "files": {name: {} for name in FILES}})
    (tmp_path / "not listed").write_text("of the user")
    return tmp_path


def write_manifest(folder: Path, manifest: object) -> None:
    (folder / "manifest.json").write_text(json.dumps(manifest))


def unpacked(request: httpx.Request) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(request.content)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]


def api_with(*replies: httpx.Response) -> FakeApi:
    return FakeApi().on(CALL, *(replies or (httpx.Response(201, json=PUSHED),)))


def test_listed_files_are_sent_as_an_archive_with_the_manifest_first(folder: Path) -> None:
    api, sent = api_with(), list[tuple[int, int]]()
    pushed = Client(transport=api.transport()).push_model(folder, on_progress=lambda *n: sent.append(n))
    assert pushed == PushedVersion("mine", 3, created=True, active=False, n_files=3, n_bytes=1_000_512)
    (request,) = api.requests
    files = unpacked(request)
    assert list(files) == ["manifest.json", *FILES]
    assert files == {"manifest.json": (folder / "manifest.json").read_bytes()} | FILES
    assert request.headers["content-type"] == "application/x-tar"
    assert int(request.headers["content-length"]) == len(request.content)
    assert "transfer-encoding" not in request.headers
    assert sent == sorted(sent)
    assert sent[-1] == (len(request.content), len(request.content))


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        ([], "is not the manifest of a model version"),
        ({"name": "mine", "files": {"../secret": {}}}, "lists '../secret', which is not a plain file name"),
        ({"name": "mine", "files": {"..": {}}}, "lists '..', which is not"),
    ],
)
def test_manifest_that_is_none_or_names_other_places_is_refused(
    folder: Path, manifest: Any, complaint: str
) -> None:
    write_manifest(folder, manifest)
    api = api_with()
    with pytest.raises(InvalidCall, match=f"manifest.json: {complaint}"):
        Client(transport=api.transport()).push_model(folder)
    assert api.requests == []


def test_file_that_becomes_shorter_while_it_is_sent_ends_the_push(folder: Path) -> None:
    def cut(n_sent: int, _: int) -> None:
        (folder / "golden.npz").write_bytes(b"short")

    with pytest.raises(UnreadableFile, match=r"golden.npz: became shorter while it was sent, 507 bytes"):
        Client(transport=api_with().transport()).push_model(folder, on_progress=cut)
