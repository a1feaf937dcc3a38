"""Versions that are pushed to a server process: served by the running server, whole or not at all."""

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from diptych.bundle.repository import ModelRepository
from diptych.cli import main
from diptych_client import Client, Conflict
from support.default_model import DEFAULT_MODEL
from support.server import RunningServer, serve
from support.tars import files_of_bundle, tar_of
from support.tiny_bundle import TINY, write_tiny_bundle

KEY = "a key of tests"
WITH_KEY = {"DIPTYCH_API_KEY": KEY}
WITHIN_S = 30


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "model_repo")
    return tmp_path / "model_repo"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a version on the machine that trains."""
    trained = tmp_path_factory.mktemp("trained")
    write_tiny_bundle(trained, "theirs", seed=1)
    return ModelRepository(trained).folder("theirs", 1)


def in_repository(repo: Path) -> list[str]:
    return sorted(path.name for path in (repo / TINY).iterdir())


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def half_a_push(server: RunningServer, folder: Path) -> socket.socket:
    """A connection over which half of the version has been sent."""
    archive = tar_of(files_of_bundle(folder))
    connection = socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port))
    head = (
        f"POST /models/{TINY}/versions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {KEY}\r\n"
        f"Content-Type: application/x-tar\r\nContent-Length: {len(archive)}\r\n\r\n"
    )
    connection.sendall(head.encode() + archive[: len(archive) // 2])
    return connection


def test_pushed_version_is_there_once_and_serves_when_the_command_ends(
    repo: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = {"DIPTYCH_POLL_S": "3600"}  # only the command moves the server
    with (
        serve(repo, TINY, tmp_path / "data", environment=WITH_KEY | policy) as server,
        Client(server.url, KEY) as client,
    ):
        before = client.embed(texts=["red"])
        first = client.push_model(folder, TINY)
        assert (first.version, first.created, first.active) == (2, True, False)
        second = client.push_model(folder, TINY)
        assert (second.version, second.created) == (2, False)
        flags = ["--name", TINY, "--url", server.url, "--api-key", KEY]
        assert main(["models", "push", str(folder), *flags, "--no-activate"]) == 0
        assert "tiny/2 is on the server already" in capsys.readouterr().out
        assert client.embed(texts=["red"]) == before
        assert "tiny/2 was pushed" in [line["message"] for line in server.log()]
        assert main(["models", "push", str(folder), *flags]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "tiny/2 in fp32 serves now"
        after = client.embed(texts=["red"])
        assert after.model.version == 2
        assert after.texts != before.texts
        assert client.push_model(folder, TINY).active
    assert in_repository(repo) == ["1", "2"]


def test_caller_that_leaves_and_server_that_stops_leave_nothing(
    repo: Path, folder: Path, tmp_path: Path
) -> None:
    with serve(repo, TINY, tmp_path / "data", "--grace-s", "0", environment=WITH_KEY) as server:
        with half_a_push(server, folder):
            wait_until(lambda: len(in_repository(repo)) == 2)
        wait_until(lambda: in_repository(repo) == ["1"])
        with half_a_push(server, folder):
            wait_until(lambda: len(in_repository(repo)) == 2)
            assert server.stop(signal.SIGTERM) == 0
    assert in_repository(repo) == ["1"]


def test_refusal_reaches_a_client_that_is_still_sending(repo: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    (large / "manifest.json").write_text(json.dumps({"name": DEFAULT_MODEL, "files": {"weights": {}}}))
    with (large / "weights").open("wb") as file:
        file.truncate(60_000_000)
    with (
        serve(repo, TINY, tmp_path / "data", environment=WITH_KEY) as server,
        Client(server.url, KEY) as client,
        pytest.raises(Conflict, match=f"'{DEFAULT_MODEL}' is kept for the default model"),
    ):
        client.push_model(large)
