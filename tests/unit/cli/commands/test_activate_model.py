"""`diptych models activate`, `rollback` and `cancel`: what they ask for, what they print and return."""

import httpx
import pytest

from diptych.cli import INTERRUPTED
from diptych.cli.commands import models
from support.command_line import Capture, RunCommand, command_runner
from support.fake_api import ACTIVE, ROLLOUT, FakeApi, body, ok

ACTIVATE = "POST /models/tiny/versions/4/activate"
FAILED = ROLLOUT | {"state": "failed", "progress": None, "reason": "no room for 20 MB", "finished_at": "x"}
MODELS = {
    "models": [
        {
            "name": "tiny",
            "versions": [2, 4, 5],
            "active": 2,
            "ignored": [{"version": 5, "reason": "it is for another GPU"}],
        },
        {"name": "other", "versions": [1], "ignored": [{"version": 1, "reason": "it is for another GPU"}]},
    ],
    "policy": "manual",
    "previous": None,
    "rollout": None,
}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on(ACTIVATE, httpx.Response(202, json=ROLLOUT)).on("GET /models", ok(MODELS))


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    return command_runner(models, api, monkeypatch)


def test_activation_is_followed_to_its_end(api: FakeApi, run: RunCommand, capsys: Capture) -> None:
    stays = {"scans": "2 images keep no file"}
    api.on("GET /rollouts/r1", ok(ROLLOUT), ok(ROLLOUT), ok(ACTIVE | {"stays": stays}))
    assert run("activate", "tiny", 4) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["tiny/4: embedding", "tiny/4: active"]
    assert printed.out.splitlines() == [
        "tiny/4 in fp32 serves now",
        "collection scans stays on the version of its vectors: 2 images keep no file",
    ]
    assert body(api.requests[0]) == {}


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (FAILED, "tiny/4 in fp32 does not serve, what served before serves on: no room for 20 MB"),
        (FAILED | {"state": "cancelled"}, "the rollout to tiny/4 in fp32 was cancelled: no room for 20 MB"),
    ],
)
def test_rollout_that_does_not_end_well_is_status_one_with_the_reason(
    api: FakeApi, run: RunCommand, capsys: Capture, ended: dict[str, object], told: str
) -> None:
    api.on("GET /rollouts/r1", ok(ended))
    assert run("activate", "tiny", 4) == 1
    assert capsys.readouterr().err.splitlines()[-1] == told


def test_without_a_number_the_newest_version_that_can_serve_is_activated(
    api: FakeApi, run: RunCommand, capsys: Capture
) -> None:
    api.on(ACTIVATE, ok(ACTIVE))
    assert run("activate", "tiny", "--precision", "int8") == 0
    assert api.calls() == ["GET /models", ACTIVATE]
    assert body(api.requests[-1]) == {"precision": "int8"}
    assert run("activate", "other") == 1
    assert "the server has no version of other" in capsys.readouterr().err


def test_version_that_loses_labels_is_activated_on_demand(api: FakeApi, run: RunCommand) -> None:
    api.on(ACTIVATE, ok(ACTIVE))
    assert run("activate", "tiny", 4, "--despite-labels") == 0
    assert body(api.requests[-1]) == {"despite_labels": True}


def test_rollback_activates_the_version_that_served_before(
    api: FakeApi, run: RunCommand, capsys: Capture
) -> None:
    assert run("rollback") == 1
    assert capsys.readouterr().err == "diptych: the server keeps no version to go back to\n"
    previous = {"name": "tiny", "version": 4, "n_lagging": 0, "memory_bytes": 1, "vector_bytes": 1}
    previous["precision"] = "int8"
    api.on("GET /models", ok(MODELS | {"previous": previous})).on(ACTIVATE, ok(ACTIVE))
    assert run("rollback") == 0
    assert body(api.requests[-1]) == {"precision": "int8", "despite_labels": True}
    assert capsys.readouterr().out == "tiny/4 in fp32 serves now\n"


def test_cancel_ends_the_rollout_that_is_named_or_under_way(
    api: FakeApi, run: RunCommand, capsys: Capture
) -> None:
    assert run("cancel") == 1
    assert capsys.readouterr().err == "diptych: no rollout is under way\n"
    api.on("DELETE /rollouts/r1", ok(FAILED | {"state": "cancelled", "reason": "cancelled by a request"}))
    assert run("cancel", "r1") == 0
    api.on("GET /models", ok(MODELS | {"rollout": ROLLOUT}))
    assert run("cancel") == 0
    assert (
        capsys.readouterr().err.splitlines()
        == ["the rollout to tiny/4 in fp32 was cancelled: cancelled by a request"] * 2
    )


def test_interrupt_leaves_the_rollout_alone_and_says_so(
    api: FakeApi, run: RunCommand, capsys: Capture
) -> None:
    def interrupted(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    api.on("GET /rollouts/r1", interrupted)
    assert run("activate", "tiny", 4) == INTERRUPTED
    assert "the server goes on with it" in capsys.readouterr().err
    assert api.calls() == [ACTIVATE, "GET /rollouts/r1"]
