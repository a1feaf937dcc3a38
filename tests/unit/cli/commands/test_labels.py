"""`diptych labels`: what it says of labels that another key has changed."""

from typing import Any

import pytest

from diptych.cli.commands import labels
from support.command_line import Capture, RunCommand, command_runner
from support.fake_api import MODEL, FakeApi, ok

SHARE: dict[str, Any] = {"n": 0, "n_agree": 0, "interval": None, "n_unlabelled": 0, "labels": []}
REPORT: dict[str, Any] = {
    "name": "kind",
    "labels": [{"label": "cat", "words": []}],
    "kind": "one",
    "templates": "default",
    "min_score": None,
    "precision": None,
    "revision": 1,
    "changed_at": "2026-01-01T00:00:00Z",
    "model": MODEL,
    "n_images": 2,
    "n_reviewed": 2,
    "n_lapsed": 0,
    "n_contested": 1,
    "counts": [{"label": "cat", "n": 1}],
    "n_without_label": 1,
    "agreement": SHARE | {"confusions": []},
    "accuracy": SHARE,
    "threshold": {"min_score": 0.0, "fitted_on": 0, "precision": None, "interval": None},
}
STATEMENT = {"labels": ["cat"], "by": "ann", "at": "2026-01-01T00:00:00Z"}


def image(id: str, *said: str, before: Any) -> dict[str, Any]:
    verdict = STATEMENT | {"labels": said, "by": "bob", "drawn": False, "before": before}
    model = {"proposed": [], "score": 0.5, "margin": 0.1}
    return {"id": id, "labels": said, "by": "person", "verdict": verdict} | model


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    return command_runner(labels, api, monkeypatch)


def test_labels_that_another_key_has_changed_are_counted_and_listed(
    api: FakeApi, run: RunCommand, capsys: Capture
) -> None:
    api.on("GET /collections/pets/label-sets/kind", ok(REPORT), ok(REPORT | {"n_contested": 0}))
    assert run("show", "kind", "--collection", "pets") == 0
    told = "reviewers differ about 1 picture: see `diptych labels images kind --contested`"
    assert told in capsys.readouterr().out.splitlines()
    assert run("show", "kind", "--collection", "pets") == 0
    assert "differ" not in capsys.readouterr().out
    images = [image("rex", before=STATEMENT), image("tom", "cat", before=None)]
    page = {"model": MODEL, "images": images, "next": None, "total": 2}
    api.on("GET /collections/pets/label-sets/kind/images", ok(page))
    assert run("images", "kind", "--contested", "--collection", "pets") == 0
    assert api.requests[-1].url.params["contested"] == "true"
    _, rex, tom = capsys.readouterr().out.splitlines()
    assert rex.split() == ["rex", "(none)", "bob,", "before:", "cat", "by", "ann", "0.500", "0.100"]
    assert tom.split() == ["tom", "cat", "person", "0.500", "0.100"]
