"""`diptych serve`: errors in flags and variables."""

import re

import pytest

from diptych.cli import main
from support.command_line import Capture
from support.documents import ROOT


def test_invalid_variable_is_named_as_a_variable(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("DIPTYCH_PORT", "abc")
    assert main(["serve", "--model", "tiny"]) == 1
    assert capsys.readouterr().err.startswith("diptych: DIPTYCH_PORT: Input should be a valid integer")


def test_help_shows_the_flags_in_the_groups_of_the_documentation(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    tables = re.findall(r"\*\*(\w.+)\*\*\n\n\| variable \| flag \|.*\n.*\n((?:\|.*\n)+)", page)
    assert len(tables) == 6
    for title, rows in tables:
        group = shown.split(f"\n{title.lower()}:\n")[1].split("\n\n")[0]
        flags = [row.split("|")[2].strip(" `") for row in rows.splitlines()]
        assert re.findall(r"^  (--[a-z0-9-]+)", group, re.M) == flags
