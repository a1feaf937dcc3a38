"""`diptych models activate`, `rollback` and `cancel` on a running server with pictures in a collection."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych.cli import main
from diptych_client import Client
from support.pictures import picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY, write_tiny_bundle

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of version 2, which embeds as version 1 does not, and looks for new versions all the time."""
    write_tiny_bundle(tmp_path / "model_repo", seed=1)
    write_tiny_bundle(tmp_path / "model_repo", seed=2, precisions={"fp32": "equal", "int8": "rounded"})
    often = {"DIPTYCH_POLL_S": "0.05", "DIPTYCH_PRECISION": "fp32"}
    with serve(tmp_path / "model_repo", TINY, tmp_path / "data", environment=often) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.url) as client:
        client.create_collection("pets")
        added = client.add([picture("red"), picture("blue")], ids=["red", "blue"], collection="pets")
        assert [outcome.error for outcome in added] == [None, None]
        yield client


def models(server: RunningServer, *arguments: object) -> int:
    return main(["models", *map(str, arguments), "--url", server.url])


def versions(client: Client) -> tuple[int, int]:
    """The versions that answer a request without a collection, and a search."""
    found = client.search("red", collection="pets")
    assert {hit.id for hit in found.hits} == {"red", "blue"}
    return client.embed(texts=["red"]).model.version, found.model.version


def test_activated_version_serves_when_the_command_ends_and_a_rollback_returns(
    server: RunningServer, client: Client, capsys: Capture
) -> None:
    assert versions(client) == (2, 2)
    assert models(server, "activate", TINY, 1) == 0
    assert capsys.readouterr().out == "tiny/1 in fp32 serves now\n"
    assert versions(client) == (1, 1)
    assert models(server) == 0
    assert re.search(
        r"tiny/2 \([0-9a-f]{8}\) in fp32 served before: a rollback is immediate", capsys.readouterr().out
    )
    assert models(server, "rollback") == 0
    assert capsys.readouterr().out == "tiny/2 in fp32 serves now\n"
    assert versions(client) == (2, 2)
    assert [one.target.version for one in client.rollouts()] == [2, 1, 2]
    assert models(server, "activate", TINY, 7) == 1
    assert "(HTTP 404)" in capsys.readouterr().err
    assert models(server, "activate", TINY, 2, "--precision", "int8") == 0
    assert capsys.readouterr().out == "tiny/2 in int8 serves now\n"
    assert client.search("red", collection="pets").model.precision == "int8"


def test_versions_are_compared_after_a_switch_with_the_pictures_of_both(
    server: RunningServer, client: Client, tmp_path: Path, capsys: Capture
) -> None:
    assert models(server, "compare") == 1
    assert "no rollout has compared anything" in capsys.readouterr().err
    assert models(server, "compare", 2, 1) == 1
    assert "no collection has vectors of tiny/2 and of tiny/1 at once" in capsys.readouterr().err
    assert models(server, "activate", TINY, 1) == 0
    capsys.readouterr()
    assert models(server, "compare", "--json") == 0
    of_rollout = json.loads(capsys.readouterr().out)
    assert models(server, "compare", 2, 1, "--json", "--html", tmp_path / "page.html") == 0
    assert json.loads(capsys.readouterr().out) == of_rollout
    assert [one["collection"] for one in of_rollout["collections"]] == ["default", "pets"]
    assert client.compare_versions(TINY, 2, 1, collection="pets").collections[0].n_queries == 4
    assert "tiny/2 (fp32) → tiny/1 (fp32)" in (tmp_path / "page.html").read_text(encoding="utf-8")
