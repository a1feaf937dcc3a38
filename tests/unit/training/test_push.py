"""`--push URL`: what is checked before long work, and what is said when a push fails or ends."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from diptych_client import Client
from diptych_training import push
from diptych_training.cli import main
from diptych_training.errors import PushFailed
from diptych_training.push import push_and_report, push_version, require_server
from support.fake_api import MODEL, FakeApi, ok, problem

URL = "http://diptych.example.org"
KEY = "correct horse"
VERSION = {"version": "1", "model": MODEL, "provider": "x", "embed_dim": 2, "default_collection": "default"}
PUSHED = {"name": "mine", "version": 3, "created": True, "active": False, "n_files": 1, "n_bytes": 1000}


def only_with_key(request: httpx.Request) -> httpx.Response:
    """Answer as a server with a key does."""
    return ok(VERSION) if "authorization" in request.headers else problem(401, "an API key is needed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "mine", "files": {"weights": {}}}))
    (tmp_path / "weights").write_bytes(b"x" * 1000)
    return tmp_path


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    api = FakeApi().on("GET /version", only_with_key)

    def client(url: str, api_key: str | None) -> Client:
        return Client(url, api_key, transport=api.transport())

    monkeypatch.setattr(push, "Client", client)
    monkeypatch.setenv("DIPTYCH_API_KEY", KEY)
    yield api
    for request in api.requests:
        assert request.url.host == "diptych.example.org"
        assert request.headers.get("authorization", "none") in (f"Bearer {KEY}", "none")


def test_pushed_version_is_named_as_on_the_server(
    api: FakeApi, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("POST /models/mine/versions", httpx.Response(201, json=PUSHED))
    assert push_version(folder, URL, KEY) == "mine/3"
    push_and_report(folder, URL)
    printed = capsys.readouterr()
    assert printed.out == f"pushed to {URL} as mine/3: it is served after a restart of that server\n"
    assert "push: " in printed.err


def test_failed_push_says_what_is_published_and_how_to_repeat_it(api: FakeApi, folder: Path) -> None:
    api.on("POST /models/mine/versions", problem(507, "the disk is full"))
    said = rf"{folder} is published, but was not pushed to {URL}: the disk is full \(HTTP 507\)"
    with pytest.raises(
        PushFailed, match=rf"{said}\. To repeat the push: diptych models push {folder} --url {URL}"
    ):
        push_version(folder, URL, KEY)


def test_server_is_asked_before_the_long_work(api: FakeApi) -> None:
    require_server("mine", URL, KEY)
    assert set(api.calls()) == {"GET /version"}
    api.on("GET /version", problem(401, "an API key is needed"))
    with pytest.raises(PushFailed, match=rf"--push {URL}: an API key is needed"):
        require_server("mine", URL, KEY)


def test_server_that_answers_without_a_key_is_refused_before_the_long_work(api: FakeApi) -> None:
    api.on("GET /version", ok(VERSION))
    said = rf"--push {URL}: this server was started without an API key.*starts it again with DIPTYCH_API_KEY"
    with pytest.raises(PushFailed, match=said):
        require_server("mine", URL, KEY)


def test_missing_key_and_the_name_of_the_default_model_need_no_server(api: FakeApi) -> None:
    with pytest.raises(PushFailed, match="set DIPTYCH_API_KEY"):
        require_server("mine", URL, None)
    with pytest.raises(PushFailed, match=r"'pictograms' is kept for the default model.*--name"):
        require_server("pictograms", URL, KEY)
    with pytest.raises(PushFailed, match="--push ftp://x: url 'ftp://x' must look like"):
        require_server("mine", "ftp://x", KEY)
    assert api.requests == []


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["export", "--run", "nowhere", "--name", "pictograms"], "is kept for the default model"),
        (["import", ".", "--name", "pictograms"], "is kept for the default model"),
        (["export", "--tensorrt", "--from-version", "1", "--name", "mine"], "plans cannot be pushed"),
    ],
)
def test_command_refuses_what_cannot_be_pushed_before_it_begins(
    api: FakeApi, capsys: pytest.CaptureFixture[str], command: list[str], complaint: str
) -> None:
    assert main([*command, "--push", URL]) == 1
    assert complaint in capsys.readouterr().err
