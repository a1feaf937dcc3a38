"""Printing: units, and control characters that never reach the terminal."""

import json

import httpx
import pytest

from diptych.cli.commands import models, search
from diptych.cli.output.console import format_bytes
from support.command_line import Capture, command_runner
from support.fake_api import MODEL, FakeApi, problem


def test_bytes_are_formatted_in_the_largest_unit() -> None:
    sizes = [0, 999, 1_000, 9_949, 9_950, 999_499, 999_500, 12_345_678_901]
    told = ["0 B", "999 B", "1.0 kB", "9.9 kB", "10 kB", "999 kB", "1.0 MB", "12 GB"]
    assert list(map(format_bytes, sizes)) == told


def test_control_characters_in_an_error_are_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("GET /models", problem(404, "no \x1b[2J\x9b2J"))
    assert command_runner(models, api, monkeypatch)() == 1
    assert capsys.readouterr().err == "diptych: no \ufffd[2J\ufffd2J (HTTP 404)\n"


def test_control_characters_in_json_are_escaped(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    hit = {"id": "ä", "cosine": 0, "metadata": {"x": "\x9b2J\udcff"}, "links": {}}
    answer = json.dumps({"model": MODEL, "collection": "pets", "hits": [hit], "truncated": False})
    api = FakeApi().on("POST /search", httpx.Response(200, text=answer))
    command_runner(search, api, monkeypatch)("cat", "--json")
    printed = capsys.readouterr().out
    assert printed.rstrip("\n").isprintable()
    assert '"ä"' in printed
    assert json.loads(printed)["hits"][0]["metadata"] == {"x": "\x9b2J\udcff"}
