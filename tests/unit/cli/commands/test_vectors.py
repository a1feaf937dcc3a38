"""`diptych vectors`: what it sends, what it says, and how it fails."""

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from diptych.cli.commands import vectors
from support.command_line import RunCommand, command_runner
from support.fake_api import PETS, FakeApi, parts

PATH = "POST /collections/pets/vectors"


def reply(request: httpx.Request) -> httpx.Response:
    """Two rows: one is created, one fails."""
    error = {"title": "Invalid value", "status": 422, "detail": "has norm 2", "item": None}
    rows = [
        {"index": 0, "id": "a", "status": "created", "error": None},
        {"index": 1, "id": None, "status": "failed", "error": error},
    ]
    return httpx.Response(200, json={"model": {}, "collection": "pets", "outcomes": rows})


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on("GET /collections/pets", httpx.Response(200, json=PETS)).on(PATH, reply)


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    monkeypatch.setenv("DIPTYCH_DEFAULT_COLLECTION", "pets")
    return command_runner(vectors, api, monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.npy"
    np.save(path, np.eye(2))
    return path


def test_rows_are_sent_with_their_model_and_failures_are_printed(
    run: RunCommand, api: FakeApi, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = tmp_path / "items.jsonl"
    items.write_text('{"id": "a", "metadata": {"n": 1}}\n{}\n')
    assert run(file, "--model", "tiny/3", "--items", items) == 1
    form = dict(parts(api.requests[-1]))
    assert json.loads(form["model"]) == {"name": "tiny", "version": 3, "precision": "fp32", "decode": "exact"}
    assert form["embeddings"] == np.eye(2, dtype="<f4").tobytes()
    assert json.loads(form["items"])[0] == {"id": "a", "metadata": {"n": 1}}
    printed = capsys.readouterr()
    assert printed.out == "pets: 1 created, 0 replaced, 0 unchanged, 1 failed\n"
    assert "failed: row 1: has norm 2" in printed.err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("one\n", "has 1 lines for 2 vectors"), ("{}\n{\n", ":2: is not JSON")],
)
def test_bad_items_are_named_before_anything_is_sent(
    run: RunCommand, api: FakeApi, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    content: str, complaint: str,
) -> None:  # fmt: skip
    items = tmp_path / "items.jsonl"
    items.write_text(content)
    assert run(file, "--model", "tiny/3", "--items", items) == 1
    assert complaint in capsys.readouterr().err
    assert api.requests == []
