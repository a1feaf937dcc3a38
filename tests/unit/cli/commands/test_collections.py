"""`diptych collections`: listing, creating, showing, changing and dropping."""

import httpx
import pytest

from diptych.cli.commands import collections
from support.command_line import Capture, command_runner
from support.fake_api import PETS, FakeApi, body, ok


def test_collections_are_listed_created_and_dropped(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    api = FakeApi().on("GET /collections", ok({"collections": [PETS]})).on("POST /collections", ok(PETS))
    run = command_runner(collections, api.on("DELETE /collections/pets", httpx.Response(204)), monkeypatch)
    assert [run("list"), run("create", "pets"), run("drop", "pets")] == [0, 0, 0]
    assert capsys.readouterr().out.splitlines() == [
        "name  images  files  memory  model  state  created",
        "pets      12    0 B     0 B  tiny   ready  2026-01-01T00:00:00Z",
        "created pets for model tiny",
        "dropped pets",
    ]


def test_collection_is_shown_renamed_and_configured(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    vectors = {"name": "tiny", "version": 3, "precision": "fp32", "decode": "exact"}
    full = PETS | {"n_embedded": 2, "n_kept": 1, "kept_bytes": 1234, "vectors": vectors, "recall": 1.0}
    full |= {"index": {"device": "cpu", "reason": "set by DIPTYCH_INDEX_DEVICE"}}
    full |= {"memory_bytes": 3_072, "load_s": 0.52}
    api = FakeApi().on("GET /collections/pets", ok(full)).on("PATCH /collections/pets", ok(full))
    run = command_runner(collections, api, monkeypatch)
    assert run("show", "pets") == 0
    told = capsys.readouterr().out
    assert "files    1, 1.2 kB; new ones: original\n" in told
    assert "vectors  tiny/3 (fp32)\n" in told
    assert "index    every row is compared, on cpu (set by DIPTYCH_INDEX_DEVICE)\n" in told
    assert "memory   3.1 kB of vectors, read in 0.5 s\n" in told
    assert run("rename", "pets", "cats") == 0
    assert run("configure", "pets", "--keep", "none") == 0
    assert [body(request) for request in api.requests[1:]] == [{"name": "cats"}, {"keep": "none"}]


def test_fields_whose_words_are_indexed_are_chosen_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    full = PETS | {"text_fields": ["caption", "file.name"], "n_text_indexed": 7}
    api = FakeApi().on(
        "GET /collections/pets", ok(full), ok(PETS | {"text_fields": None, "n_text_indexed": 12})
    )
    api = api.on("POST /collections", ok(full)).on("PATCH /collections/pets", ok(full))
    run = command_runner(collections, api, monkeypatch)
    assert run("create", "pets", "--text-fields", "caption, file.name") == 0
    assert run("create", "pets", "--text-fields", "all") == 0
    assert run("configure", "pets", "--text-fields", "all") == 0
    assert run("configure", "pets", "--text-fields", "", "--keep", "none") == 0
    assert [body(request) for request in api.requests] == [
        {"name": "pets", "keep": "original", "text_fields": ["caption", "file.name"]},
        {"name": "pets", "keep": "original"},
        {"text_fields": None},
        {"keep": "none", "text_fields": []},
    ]
    capsys.readouterr()
    assert [run("show", "pets"), run("show", "pets")] == [0, 0]
    told = capsys.readouterr().out
    assert "words    of caption, file.name, indexed of 7 of 12 images\n" in told
    assert "words    of all fields\n" in told
    with pytest.raises(SystemExit):
        run("configure", "pets")
    assert "give --keep, --text-fields, or both" in capsys.readouterr().err


def test_recall_of_a_large_collection_is_shown_by_what_is_searched_for(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    large = PETS | {"recall": 0.991, "recall_by": {"names": 0.998, "nouns": 0.991, "images": 1.0}}
    large |= {"index": {"kind": "ivf", "device": "cpu", "reason": "25 of 1,265 lists are searched; set by X"}}
    run = command_runner(collections, FakeApi().on("GET /collections/pets", ok(large)), monkeypatch)
    assert run("show", "pets") == 0
    assert (
        "index    25 of 1,265 lists are searched, on cpu; it finds 99.8% of the ten nearest by names, "
        "99.1% by other nouns, 100.0% by images; set by X\n"
    ) in capsys.readouterr().out


def test_rollout_of_a_collection_and_why_it_stays_or_is_not_served_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    moving = {"id": "r1", "model": "mine", "version": 4, "precision": "fp32", "state": "embedding"}
    moving |= {"n_images": 12, "n_embedded": 5}
    waiting = moving | {"state": "waiting", "n_images": 0, "n_embedded": 0}
    reason = "tiny/3 in fp32 cannot be loaded"
    api = FakeApi().on(
        "GET /collections/pets",
        ok(PETS | {"rollout": waiting}),
        ok(PETS | {"rollout": moving}),
        ok(PETS | {"stays": "2 images keep no file"}),
        ok(PETS | {"state": "unserved", "reason": reason, "vectors": None}),
    )
    run = command_runner(collections, api, monkeypatch)
    shown = []
    for _ in range(4):
        assert run("show", "pets") == 0
        shown.append(capsys.readouterr().out)
    assert "state    ready, moving to mine/4 (fp32): waiting\n" in shown[0]
    assert "state    ready, moving to mine/4 (fp32): 5 of 12\n" in shown[1]
    assert "stays    2 images keep no file\n" in shown[2]
    assert f"state    unserved: {reason}\n" in shown[3]
    assert "vectors  of tiny, which is not served\n" in shown[3]
