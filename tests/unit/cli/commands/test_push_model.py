"""`diptych models push`: what it prints, and which server it speaks to."""

import json
from pathlib import Path

import httpx
import pytest

from diptych.cli.commands import models
from support.command_line import Capture, RunCommand, command_runner
from support.fake_api import MODEL, FakeApi, ok, problem

PUSHED = {"name": "tiny", "version": 3, "created": True, "active": False, "n_files": 2, "n_bytes": 1_200_000}
VERSION = {"version": "1", "model": MODEL, "provider": "x", "embed_dim": 2, "default_collection": "default"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "tiny", "files": {"weights": {}}}))
    (tmp_path / "weights").write_bytes(b"x" * 1000)
    return tmp_path


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on("GET /version", ok(VERSION))


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    return command_runner(models, api, monkeypatch)


NEW = "3 is published on the server: 2 files, 1.2 MB"
KNOWN = "3 is on the server already, with the same 2 files, 1.2 MB"
NEWEST = "restart the server to serve the newest version"
OTHER = "the server serves tiny: start it with --model mine to serve this version"


@pytest.mark.parametrize(
    ("name", "changes", "printed"),
    [
        ("tiny", {}, [f"tiny/{NEW}", NEWEST]),
        ("tiny", {"created": False}, [f"tiny/{KNOWN}", NEWEST]),
        ("tiny", {"created": False, "active": True}, [f"tiny/{KNOWN}", "it serves now"]),
        ("mine", {"name": "mine"}, [f"mine/{NEW}", OTHER]),
    ],
)
def test_outcome_and_next_step_are_printed(
    api: FakeApi,
    run: RunCommand,
    folder: Path,
    capsys: Capture,
    name: str,
    changes: dict[str, object],
    printed: list[str],
) -> None:
    api.on(f"POST /models/{name}/versions", httpx.Response(201, json=PUSHED | changes))
    assert run("push", folder, *([] if name == "tiny" else ["--name", name])) == 0
    assert capsys.readouterr().out.splitlines() == printed


def test_json_is_the_answer_of_the_server_wherever_the_flag_stands(
    api: FakeApi, run: RunCommand, folder: Path, capsys: Capture
) -> None:
    api.on("POST /models/tiny/versions", httpx.Response(201, json=PUSHED))
    for arguments in (["push", folder, "--json"], ["--json", "push", folder]):
        assert run(*arguments) == 0
        assert json.loads(capsys.readouterr().out) == PUSHED


def test_url_and_key_may_stand_before_the_verb_or_after_it(
    api: FakeApi, run: RunCommand, folder: Path
) -> None:
    api.on("POST /models/tiny/versions", httpx.Response(201, json=PUSHED | {"active": True}))
    flags = ["--url", "http://elsewhere:1", "--api-key", "correct horse"]
    assert run("push", folder, *flags) == run(*flags, "push", folder) == 0
    for request in api.requests:
        assert request.url.host == "elsewhere"
        assert request.headers["authorization"] == "Bearer correct horse"


def test_refusal_is_one_line_with_status_one(
    api: FakeApi, run: RunCommand, folder: Path, capsys: Capture
) -> None:
    api.on("POST /models/tiny/versions", problem(409, "the name is kept"))
    assert run("push", folder) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "diptych: the name is kept (HTTP 409)"
    (folder / "manifest.json").unlink()
    assert run("push", folder) == 1
    assert "manifest.json: No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("push", folder / "nowhere")
