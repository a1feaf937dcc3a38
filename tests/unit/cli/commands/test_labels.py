"""`diptych labels`: what it says of a set, and of labels that another key has changed."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from diptych.cli.commands import labels
from support.command_line import Capture, RunCommand, command_runner
from support.fake_api import MODEL, FakeApi, body, ok

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


def test_precision_that_no_score_reaches_is_said(api: FakeApi, run: RunCommand, capsys: Capture) -> None:
    unreached = {"min_score": 2.0, "fitted_on": 20, "precision": None, "interval": None}
    set_to_it = REPORT | {"precision": 0.95, "threshold": unreached}
    api.on("GET /collections/pets/label-sets/kind", ok(set_to_it))
    assert run("show", "kind", "--collection", "pets") == 0
    said = "no image has a label, as no score reaches a precision of 0.95 on 20 drawn: review more"
    assert said in capsys.readouterr().out


def test_copies_count_once_and_the_line_says_so(api: FakeApi, run: RunCommand, capsys: Capture) -> None:
    agreement = REPORT["agreement"] | {"n": 733, "n_agree": 733, "interval": [0.99, 1.0]}
    api.on("GET /collections/pets/label-sets/kind", ok(REPORT | {"n_reviewed": 734, "agreement": agreement}))
    assert run("show", "kind", "--collection", "pets") == 0
    said = "734 reviewed: the model agrees on 733 of 733 different pictures (1.00, 95% 0.99 to 1.00)"
    assert said in capsys.readouterr().out


def test_import_leaves_a_word_that_stands_as_it_is(
    api: FakeApi, run: RunCommand, capsys: Capture, tmp_path: Path
) -> None:
    file = tmp_path / "said.csv"
    file.write_text("id,label\nrex,cat\ntom,\n", encoding="utf-8")
    row = {"id": "rex", "labels": ["cat"], "by": "person", "sha256": "a" * 64}
    api.on("GET /collections/pets/label-sets/kind", ok(REPORT))
    api.on("GET /collections/pets/label-sets/kind/export", httpx.Response(200, text=json.dumps(row) + "\n"))
    stored = {"verdicts": [{"id": "tom", "labels": [], "before": None}], "unknown": [], "replaced": []}
    api.on("POST /collections/pets/label-sets/kind/verdicts", ok(stored))
    assert run("import", "kind", str(file), "--collection", "pets") == 0
    assert body(api.requests[-1]) == {"verdicts": [{"id": "tom", "labels": []}]}
    said = "kind: 1 stored, 0 of them in place of another, 1 already so\n"
    assert capsys.readouterr().out == said
