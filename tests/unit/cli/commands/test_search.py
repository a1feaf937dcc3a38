"""`diptych search`: the request that it sends and what it prints."""

import json
import tempfile
import webbrowser
from pathlib import Path

import httpx
import pytest

from diptych.cli.commands import search
from support.command_line import Capture, command_runner
from support.fake_api import MODEL, PETS, FakeApi, body, ok, search_reply


def test_search_prints_a_table_of_hits(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    hits = [
        {"id": "tom", "cosine": 0.34567, "relevance": None, "metadata": {"name": "cat", "n": 1}},
        {"id": "a", "cosine": -0.1, "relevance": None, "metadata": {}},
    ]
    api = FakeApi().on("POST /search", search_reply(*hits))
    assert command_runner(search, api, monkeypatch)("a cat", "-k", 2) == 0
    assert capsys.readouterr().out.splitlines() == [
        "   name  cosine  metadata  id",
        "1  cat    0.346  n=1       tom",
        "2  a     -0.100            a",
    ]
    assert body(api.requests[0]) == {"query": [{"text": "a cat", "weight": 1}], "k": 2}
    file = {"name": "tom.jpg", "folder": "pets/cats", "modified": "2026-03-02T09:30:00Z"}
    api.on("POST /search", search_reply({"id": "6009", "cosine": 0.3, "metadata": {"file": file}}))
    command_runner(search, api, monkeypatch)("a cat", "--filter", '{"n": 1}')
    assert capsys.readouterr().out.splitlines()[1] == "1  tom.jpg   0.300  file.folder=pets/cats  6009"
    assert body(api.requests[1])["filter"] == {"n": 1}
    command_runner(search, api, monkeypatch)(
        "a cat", "-k", 2, "--match", "meaning"
    )  # unknown to older servers
    assert body(api.requests[2]) == body(api.requests[0])


def test_parts_of_a_search_are_mixed_by_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi().on("POST /search", search_reply())
    run = command_runner(search, api, monkeypatch)
    run(
        "--id",
        "tom",
        "--weight",
        "2",
        "red",
        "--text",
        "old",
        "--not",
        "car",
        "--not",
        "bus",
        "--weight",
        "-1",
    )
    assert body(api.requests[0])["query"] == [
        {"id": "tom", "weight": 2},
        {"text": "red", "weight": 1},
        {"text": "old", "weight": 1},
        {"text": "car", "weight": -0.5},
        {"text": "bus", "weight": -1},
    ]


def test_an_empty_answer_to_a_bounded_search_says_that_nothing_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("POST /search", search_reply())
    command_runner(search, api, monkeypatch)("quantum mortgage", "--min-relevance", "0.1")
    assert capsys.readouterr().out == "nothing fits\n"
    assert body(api.requests[0])["min_relevance"] == 0.1


def test_hits_by_words_name_the_fields(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    words = {"matched": ["words"], "matched_fields": ["caption", "place.city"]}
    hits = [{"id": "a", "cosine": 0.5, **words}, {"id": "b", "cosine": 0.4, "matched": ["meaning"]}]
    api = FakeApi().on("POST /search", search_reply(*hits, words_incomplete=True))
    assert command_runner(search, api, monkeypatch)("rome", "--match", "both") == 0
    assert body(api.requests[0])["match"] == "both"
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "   id  cosine  metadata  words in",
        "1  a    0.500            caption, place.city",
        "2  b    0.400",
    ]
    assert "the words of some images are not indexed yet" in printed.err


def test_counts_of_a_field_stand_below_the_hits(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    values = [{"value": "pets", "count": 2}, *({"value": True, "count": 1} for _ in range(20))]
    facets = [{"field": "album", "n_hits": 3, "values": values}]
    answer = {"model": MODEL, "collection": "pets", "hits": [], "truncated": False, "facets": facets}
    api = FakeApi().on("POST /search", ok(answer))
    assert command_runner(search, api, monkeypatch)("cat", "--facet", "album") == 0
    assert body(api.requests[0])["facets"] == ["album"]
    assert (
        capsys.readouterr().out.splitlines()[-1] == "album of the 3 best: pets 2" + "  true 1" * 19 + "  ..."
    )


def test_folded_duplicates_are_counted(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    hit = {"id": "a", "cosine": 0.5, "metadata": {}, "duplicates": [{"id": "b", "kind": "bytes"}] * 2}
    api = FakeApi().on("POST /search", search_reply(hit))
    run = command_runner(search, api, monkeypatch)
    for collapse in ("bytes", "picture", "0.9"):
        assert run("cat", "--collapse", collapse) == 0
    assert [body(request)["collapse"] for request in api.requests] == ["bytes", "picture", 0.9]
    assert capsys.readouterr().out.splitlines()[1] == "1  a (+2)   0.500"


def test_hits_are_sorted_by_a_field_and_a_cut_is_noted(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    hit = {"id": "a", "cosine": 0.5, "metadata": {}}
    api = FakeApi().on("POST /search", search_reply(hit, sorted_all=False))
    run = command_runner(search, api, monkeypatch)
    assert run("cat", "--order-by", "exif.taken_at", "--direction", "desc") == 0
    assert run("cat", "--order-by", "year") == 0
    assert [body(request)["order_by"] for request in api.requests] == [
        {"field": "exif.taken_at", "direction": "desc"},
        {"field": "year", "direction": "asc"},
    ]
    assert "more hits may fit than were sorted" in capsys.readouterr().err


def test_several_collections_are_searched_and_named(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    hits = [{"id": "a", "cosine": 0.5, "collection": name} for name in ("pets", "cars")]
    reply = search_reply(*hits, collection=None, collections=["pets", "cars"])
    api = FakeApi().on("POST /search", reply)
    run = command_runner(search, api, monkeypatch)
    monkeypatch.setenv("DIPTYCH_DEFAULT_COLLECTION", "mine")
    assert run("--id", "pets/a", "--collection", "pets", "--collection", "cars") == 0
    assert body(api.requests[0]) == {
        "query": [{"id": "a", "collection": "pets", "weight": 1}],
        "k": 10,
        "collections": ["pets", "cars"],
    }
    assert capsys.readouterr().out.splitlines()[1:] == ["1  pets/a   0.500", "2  cars/a   0.500"]
    run("cat", "--collection", "*")
    run("cat", "--collection", "cars")
    run("cat")
    sent = [body(request) for request in api.requests[1:]]
    assert [one.get("collections") for one in sent] == [["*"], None, None]
    assert [one.get("collection") for one in sent] == [None, "cars", "mine"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give WORDS, --image or --id to search for"),
        (["--weight", "2", "--id", "a"], "--weight stands after what it weighs"),
        (["cat", "--direction", "desc"], "--direction needs --order-by"),
        (["cat", "--collapse", "near"], "argument --collapse: 'near' must be bytes, picture or a cosine"),
        (["cat", "--min-relevance", "nan"], "argument --min-relevance: 'nan' must be a number from 0 to 1"),
    ],
)
def test_search_without_a_query_or_with_a_lost_weight_is_refused(
    arguments: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as caught:
        command_runner(search, FakeApi(), monkeypatch)(*arguments)
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_truncated_words_are_noted(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    answer = {"model": MODEL, "collection": "pets", "hits": [], "truncated": True}
    assert command_runner(search, FakeApi().on("POST /search", ok(answer)), monkeypatch)("cat " * 99) == 0
    assert "a text was truncated" in capsys.readouterr().err


def sheet_api() -> FakeApi:
    hits = [{"id": id, "cosine": 0.3, "relevance": None, "metadata": {}} for id in ("tom", "gone")]
    picture = httpx.Response(200, content=b"\x89PNG pixels", headers={"content-type": "image/png"})
    return (
        FakeApi()
        .on("POST /search", search_reply(*hits))
        .on("GET /collections/pets/images/tom/thumbnail", picture)
    )


def test_sheet_is_written_with_the_pictures_that_are_there(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    file = tmp_path / "cats.html"
    assert command_runner(search, sheet_api(), monkeypatch)("a cat", "--sheet", file) == 0
    page = file.read_text(encoding="utf-8")
    assert (page.count("data:image/png"), page.count("no picture is kept")) == (1, 1)
    assert capsys.readouterr().out.splitlines()[-1] == f"{file} has the pictures"


def test_sheet_is_opened_in_the_browser(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)) or True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert command_runner(search, sheet_api(), monkeypatch)("a cat", "--open", "--json") == 0
    (file,) = tmp_path.iterdir()
    assert opened == [file.as_uri()]
    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["id"] == "tom"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("absent/x.html", "there is no folder {0}/absent"), ("folder", "it is a folder")],
)
def test_sheet_that_cannot_be_written_is_an_error_before_the_search(
    name: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    api = sheet_api()
    assert command_runner(search, api, monkeypatch)("a cat", "--sheet", tmp_path / name) == 1
    complaint = f"diptych: {tmp_path / name}: cannot be written: {reason.format(tmp_path)}\n"
    assert (api.requests, capsys.readouterr().err) == ([], complaint)


def empty_api(**sizes: int) -> FakeApi:
    rows = [PETS | {"name": name, "n_images": n_images} for name, n_images in sizes.items()]
    return FakeApi().on("POST /search", search_reply()).on("GET /collections", ok({"collections": rows}))


def test_search_of_an_empty_collection_names_those_with_images(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda address: pytest.fail("an empty page was opened"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    api = empty_api(pets=0, trip=3, gallery=1734)
    assert command_runner(search, api, monkeypatch)("red car", "--open") == 0
    printed = capsys.readouterr()
    assert printed.out == "nothing found\n"
    assert printed.err == (
        "note: pets has no images; search another with --collection gallery (1,734 images), "
        "--collection trip (3 images)\n"
    )
    assert list(tmp_path.iterdir()) == []
