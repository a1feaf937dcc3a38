"""`--push URL` of export and import, to a server process with another repository."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych_training.cli import main
from support.server import RunningServer, serve
from support.tiny_bundle import TINY, write_tiny_bundle
from support.tiny_run import write_tiny_dataset, write_tiny_run

KEY = "a key of tests"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setenv("DIPTYCH_API_KEY", KEY)
    write_tiny_bundle(tmp_path / "served")
    environment = {"DIPTYCH_API_KEY": KEY}
    with serve(
        tmp_path / "served", TINY, tmp_path / "data", "--allow-ungated", environment=environment
    ) as running:
        yield running


def flags(tmp_path: Path, server: RunningServer) -> list[str]:
    return ["--model-repo", str(tmp_path / "trained"), "--push", server.url, "--ungated", "--no-optimise"]


def test_exported_version_is_on_the_server(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_dataset(tmp_path / "pairs", n_icons=20)
    run = str(write_tiny_run(tmp_path / "runs" / "tiny"))
    command = ["export", "--run", run, "--name", "mine", "--data", str(tmp_path / "pairs")]
    assert main([*command, *flags(tmp_path, server)]) == 0
    assert f"pushed to {server.url} as mine/1" in capsys.readouterr().out
    served, trained = ModelRepository(tmp_path / "served"), ModelRepository(tmp_path / "trained")
    assert served.verify("mine", 1) == trained.verify("mine", 1)
