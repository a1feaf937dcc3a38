"""`diptych models push`: what it prints, when it activates, and which server it speaks to."""

import json
from pathlib import Path

import httpx
import pytest

from diptych.cli.commands import models
from support.command_line import Capture, RunCommand, command_runner
from support.fake_api import ACTIVE, ROLLOUT, FakeApi, ok

PUSHED = {"name": "tiny", "version": 4, "created": True, "active": False, "n_files": 2, "n_bytes": 1_200_000}
ACTIVATE = "POST /models/tiny/versions/4/activate"


def status(policy: str | None) -> httpx.Response:
    """The answer of `/models`; without a policy, that of an older server."""
    own = {} if policy is None else {"policy": policy, "previous": None, "rollout": None}
    return ok({"models": [{"name": "tiny", "versions": [3], "active": 3}], **own})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "tiny", "files": {"weights": {}}}))
    (tmp_path / "weights").write_bytes(b"x" * 1000)
    return tmp_path


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on("GET /models", status("manual"))


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    return command_runner(models, api, monkeypatch)


NEW = "4 is published on the server: 2 files, 1.2 MB"
KNOWN = "4 is on the server already, with the same 2 files, 1.2 MB"
MANUAL = "to serve it (the policy is manual): diptych models activate tiny 4"
OLDER = "the server is of an older diptych"
OTHER = f"{OLDER} and serves tiny: start it with --model mine to serve this version"


@pytest.mark.parametrize(
    ("policy", "name", "changes", "printed"),
    [
        ("manual", "tiny", {}, [f"tiny/{NEW}", MANUAL]),
        ("manual", "tiny", {"created": False}, [f"tiny/{KNOWN}", MANUAL]),
        ("latest", "tiny", {"created": False, "active": True}, [f"tiny/{KNOWN}", "it serves now"]),
        (None, "mine", {"name": "mine"}, [f"mine/{NEW}", OTHER]),
    ],
)
def test_without_activation_the_outcome_and_the_next_step_are_printed(
    api: FakeApi,
    run: RunCommand,
    folder: Path,
    capsys: Capture,
    policy: str | None,
    name: str,
    changes: dict[str, object],
    printed: list[str],
) -> None:
    api.on("GET /models", status(policy))
    api.on(f"POST /models/{name}/versions", httpx.Response(201, json=PUSHED | changes))
    assert run("push", folder, *([] if name == "tiny" else ["--name", name])) == 0
    assert capsys.readouterr().out.splitlines() == printed
    assert not any(call.endswith("activate") for call in api.calls())


def test_pushed_version_is_activated_and_followed_by_the_policy_latest(
    api: FakeApi, run: RunCommand, folder: Path, capsys: Capture
) -> None:
    api.on("POST /models/tiny/versions", httpx.Response(201, json=PUSHED)).on("GET /models", status("latest"))
    api.on(ACTIVATE, httpx.Response(202, json=ROLLOUT)).on("GET /rollouts/r1", ok(ROLLOUT), ok(ACTIVE))
    assert run("push", folder) == 0
    assert capsys.readouterr().out.splitlines() == [f"tiny/{NEW}", "tiny/4 in fp32 serves now"]
    api.on("GET /rollouts/r1", ok(ROLLOUT | {"state": "failed", "reason": "no room"}))
    assert run("push", folder) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("serves on: no room")


def test_activating_and_following_can_be_left_out(
    api: FakeApi, run: RunCommand, folder: Path, capsys: Capture
) -> None:
    api.on("POST /models/tiny/versions", httpx.Response(201, json=PUSHED)).on("GET /models", status("latest"))
    assert run("push", folder, "--no-activate") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("diptych models activate tiny 4")
    api.on(ACTIVATE, httpx.Response(202, json=ROLLOUT))
    assert run("push", folder, "--no-follow") == 0
    assert "rollout r1 to tiny/4 in fp32: embedding" in capsys.readouterr().out
    assert "GET /rollouts/r1" not in api.calls()
