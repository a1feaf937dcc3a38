"""`diptych delete`: what it asks for, and that a condition deletes nothing without a yes."""

import httpx
import pytest

from diptych.cli.commands import delete
from support.command_line import RunCommand, command_runner
from support.fake_api import PETS, FakeApi, body, ok

DELETIONS = "POST /collections/pets/deletions"
TOM_JPG = {
    "id": "a",
    "collection": "pets",
    "sha256": "0" * 64,
    "n_bytes": 1,
    "media_type": "image/jpeg",
    "width": 1,
    "height": 1,
    "metadata": {"file": "cats/tom.jpg"},
    "created_at": "2026-01-01T00:00:00Z",
}


@pytest.fixture
def api() -> FakeApi:
    gone = httpx.Response(204)
    api = FakeApi().on("GET /collections/pets", httpx.Response(200, json=PETS))
    return api.on("DELETE /collections/pets/images/tom", gone)


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    monkeypatch.setenv("DIPTYCH_DEFAULT_COLLECTION", "pets")
    return command_runner(delete, api, monkeypatch)


def test_ids_are_deleted_once_and_missing_ones_are_named(
    run: RunCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tom", "tom") == 0
    assert capsys.readouterr().out == "pets: 1 deleted\n"
    assert run("tom", "max") == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("pets: 1 deleted\n", "not there: max\n")


def test_condition_is_only_a_preview_without_yes(
    run: RunCommand, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"n_images": 3, "preview": True, "ids": ["a", "b"]}
    done = {"n_images": 3, "preview": False, "ids": []}
    api.on(DELETIONS, httpx.Response(200, json=found), httpx.Response(200, json=done))
    api.on("POST /collections/pets/lookups", ok({"images": [TOM_JPG]}))
    assert run("--filter", '{"year": 1999}') == 0
    told = capsys.readouterr().out
    assert told.splitlines() == [
        "name     id",
        "tom.jpg  a",
        "b        b",
        "... and 1 more",
        "pets: 3 would be deleted; repeat it with --yes",
    ]
    assert run("--filter", '{"year": 1999}', "--lacking", "--yes") == 0
    assert capsys.readouterr().out == "pets: 3 deleted\n"
    assert [body(request) for request in api.requests if "deletions" in request.url.path] == [
        {"filter": {"year": 1999}, "lacking": False, "preview": True},
        {"filter": {"year": 1999}, "lacking": True, "preview": False},
    ]


@pytest.mark.parametrize("arguments", [[], ["tom", "--lacking"], ["tom", "--filter", '{"a": 1}']])
def test_ids_and_a_condition_exclude_each_other(run: RunCommand, api: FakeApi, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    assert api.requests == []
