"""`diptych models compare`: what it asks for, prints and writes."""

from pathlib import Path

import httpx
import pytest

from diptych.cli.commands import models
from support.command_line import Capture, RunCommand, command_runner
from support.fake_api import ACTIVE, COMPARISON, ROLLOUT, FakeApi, ok, problem

COMPARE = "GET /models/tiny/versions/5/comparison"
MODELS = {
    "models": [{"name": "tiny", "versions": [4, 5], "active": 4}],
    "policy": "manual",
    "previous": None,
    "rollout": None,
}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on(COMPARE, ok(COMPARISON)).on("GET /models", ok(MODELS))


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    return command_runner(models, api, monkeypatch)


def asked(api: FakeApi) -> list[dict[str, str]]:
    return [dict(one.url.params) for one in api.requests if one.url.path.endswith("/comparison")]


def test_table_and_queries_are_printed(run: RunCommand, api: FakeApi, capsys: Capture) -> None:
    assert run("compare", 4, 5) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "collection", "old", "new", "images", "coverage", "overlap@10", "queries",
    ]  # fmt: skip
    assert lines[1].split("  ")[0] == "pets"
    for figure in ("tiny/4 (fp32)", "1,141", "100.0%", "0.832", "40"):
        assert figure in lines[1]
    assert (
        lines[2]
        == "tiny/5 (fp32) reproduces its golden outputs on the server: every cosine is at least 0.99999"
    )
    assert lines[4].split() == [
        "collection", "label", "set", "reviewed", "old", "agrees", "new", "agrees", "gained", "lost",
    ]  # fmt: skip
    assert lines[5].split() == ["pets", "kind", "200", "180", "150", "5", "35", "agrees", "less"]
    assert lines[7] == "queries that change most in pets"
    assert lines[9].split() == ["0.5", "a", "<b>", "&", "c", "tom,", "rex", "rex,", "<i>"]
    assert lines[10].split() == ["0.5", "image", "rex", "tom,", "kit", "kit,", "gone"]
    assert asked(api) == [{"against": "4", "against_model": "tiny"}]


def test_refused_switch_is_status_one(run: RunCommand, api: FakeApi, capsys: Capture) -> None:
    api.on(COMPARE, ok(COMPARISON | {"unmet": ["overlap is 0.8, the bound is 0.9"]}))
    assert run("compare", 4, 5) == 1
    assert "refused: overlap is 0.8, the bound is 0.9" in capsys.readouterr().err


def test_page_has_the_pictures_that_the_server_has(
    run: RunCommand, api: FakeApi, capsys: Capture, tmp_path: Path
) -> None:
    for id in ("tom", "rex", "kit", "<i>", "gone"):
        found = (
            problem(404, "no file")
            if id == "gone"
            else httpx.Response(200, content=b"\xff\xd8 of " + id.encode())
        )
        api.on(f"GET /collections/pets/images/{id}/thumbnail", found)
    file = tmp_path / "compared.html"
    assert run("compare", 4, 5, "--html", file) == 0
    page = file.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 4
    assert 'title="gone">gone<' in page
    assert f"{file} has the pictures of both" in capsys.readouterr().out


def test_without_versions_the_newest_rollout_that_compared_is_shown(
    run: RunCommand, api: FakeApi, capsys: Capture
) -> None:
    refused = ROLLOUT | {"id": "r2", "state": "failed", "comparison": COMPARISON | {"unmet": ["too low"]}}
    api.on("GET /rollouts", ok({"rollouts": [ROLLOUT, refused, ACTIVE]})).on("GET /rollouts/r2", ok(refused))
    assert run("compare") == 1
    printed = capsys.readouterr()
    assert "0.832" in printed.out
    assert (
        "newest rollout compared nothing; this is of that to tiny/4, 2026-01-01 00:00:00 UTC" in printed.err
    )
    api.on("GET /rollouts", ok({"rollouts": [refused, ACTIVE]}))
    assert run("compare") == 1
    assert "compared nothing" not in capsys.readouterr().err
    assert run("compare", "--collection", "pets") == 1
    assert run("compare", "--collection", "others") == 1
    assert "no rollout has compared anything" in capsys.readouterr().err


@pytest.mark.parametrize("versions", [["4"], ["4", "mine/"]])
def test_bad_versions_are_a_usage_error(run: RunCommand, versions: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("compare", *versions)
    assert "version" in capsys.readouterr().err
