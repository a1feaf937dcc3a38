"""`diptych embed`: NumPy files and JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from diptych.cli.commands import embed
from support.command_line import Capture, command_runner
from support.fake_api import MODEL, FakeApi, embed_reply


def test_embed_writes_a_matrix_with_images_first(
    picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = command_runner(embed, FakeApi().on("POST /embed", embed_reply), monkeypatch)
    assert run(picture_file, "--text", "a", "--text", "bb", "--out", tmp_path / "rows.npy") == 0
    rows = np.load(tmp_path / "rows.npy", allow_pickle=False)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 6], [0, 1], [1, 2]]


def test_file_that_cannot_be_written_is_an_error_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api, file = FakeApi(), tmp_path / "absent" / "rows.npy"
    assert command_runner(embed, api, monkeypatch)("--text", "a", "--out", file) == 1
    complaint = f"diptych: {file}: cannot be written: there is no folder {file.parent}\n"
    assert (api.requests, capsys.readouterr().err) == ([], complaint)


def test_embed_prints_json_without_out(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    command_runner(embed, FakeApi().on("POST /embed", embed_reply), monkeypatch)("--text", "abc")
    printed = json.loads(capsys.readouterr().out)
    row = {"text": "abc", "embedding": [0.0, 3.0], "truncated": False}
    assert printed == {"model": MODEL, "data": [row]}
