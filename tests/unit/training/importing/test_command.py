"""The command that serves what was just imported."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diptych.cli import build_parser
from diptych_training.importing.command import channels, serve_command, spreads, whole_number, whole_numbers


def test_the_server_gets_the_model_and_a_data_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPTYCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")

    command = serve_command(Path("repo"), "clip", ungated=False)

    assert command[:4] == [sys.executable, "-m", "diptych", "serve"]
    assert command[4:] == ["--model-repo", "repo", "--model", "clip", "--data-dir", "/state/diptych-clip"]


def test_the_servers_own_command_line_takes_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPTYCH_DATA_DIR", raising=False)
    command = serve_command(Path("repo"), "clip", ungated=True)

    assert command[-1] == "--allow-ungated"
    build_parser().parse_args(command[3:])


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (whole_number(1), "abc", "'abc' must be a whole number, at least 1"),
        (whole_number(3), "1", "1 must be at least 3"),
        (whole_numbers, "64,", "'' must be a whole number, at least 1"),
        (channels, "1,2,x", "'1,2,x' must be three numbers, such as 0.48,0.46,0.41"),
        (channels, "1,2", "'1,2' must be three numbers"),
        (channels, "1,2,nan", "'1,2,nan' must be three numbers"),
        (spreads, "0.1,0,0.1", "'0.1,0,0.1' must be three numbers above 0"),
    ],
)
def test_value_that_cannot_be_is_said_with_what_it_must_be(
    read: Callable[[str], object], text: str, message: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        read(text)
