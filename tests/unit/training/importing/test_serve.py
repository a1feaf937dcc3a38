"""The command that serves what was just imported."""

import sys
from pathlib import Path

import pytest

from diptych.cli import build_parser
from diptych_training.importing.command import serve_command


def test_the_server_gets_the_model_and_a_data_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPTYCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")

    command = serve_command(Path("repo"), "clip", ungated=False)

    assert command[:4] == [sys.executable, "-m", "diptych", "serve"]
    assert command[4:] == ["--model-repo", "repo", "--model", "clip", "--data-dir", "/state/diptych-clip"]


def test_a_data_folder_that_a_variable_names_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_DATA_DIR", "/mine")

    assert "--data-dir" not in serve_command(Path("repo"), "clip", ungated=False)


def test_the_servers_own_command_line_takes_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPTYCH_DATA_DIR", raising=False)
    command = serve_command(Path("repo"), "clip", ungated=True)

    assert command[-1] == "--allow-ungated"
    build_parser().parse_args(command[3:])
