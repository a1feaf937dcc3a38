"""`search`, `classify`, `embed`, `models` and `collections`: what they print."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from diptych.cli.commands import classify, collections, embed, models, search
from diptych.cli.output.console import format_bytes
from support.command_line import command_runner
from support.fake_api import MODEL, FakeApi, body, embed_reply, parts

Capture = pytest.CaptureFixture[str]
PETS = {
    "name": "pets",
    "model": "tiny",
    "n_images": 12,
    "created_at": "2026-01-01T00:00:00Z",
    "state": "ready",
}


def ok(value: object) -> httpx.Response:
    return httpx.Response(200, json=value)


def found(*hits: dict[str, Any]) -> httpx.Response:
    return ok({"model": MODEL, "collection": "pets", "hits": list(hits), "truncated": False})


def judged(*labels: tuple[str, float]) -> httpx.Response:
    predictions = [{"label": label, "score": score, "cosine": 0.2} for label, score in labels]
    return ok({"model": MODEL, "data": [{"index": 0, "predictions": predictions}]})


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    (tmp_path / "cat.png").write_bytes(b"pixels")
    return tmp_path / "cat.png"


def test_search_prints_a_table_of_hits(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    hits = [
        {"id": "tom", "cosine": 0.34567, "relevance": None, "metadata": {"name": "cat", "n": 1}},
        {"id": "a", "cosine": -0.1, "relevance": None, "metadata": {}},
    ]
    api = FakeApi().on("POST /search", found(*hits))
    assert command_runner(search, api, monkeypatch)("a cat", "-k", 2) == 0
    assert capsys.readouterr().out.splitlines() == [
        "   cosine  id   metadata",
        "1   0.346  tom  name=cat  n=1",
        "2  -0.100  a",
    ]
    assert body(api.requests[0]) == {"query": {"text": "a cat"}, "k": 2}


def test_search_shows_relevance_once_the_model_is_calibrated(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("POST /search", found({"id": "a", "cosine": 0.3, "relevance": 0.75}))
    command_runner(search, api, monkeypatch)("--id", "b")
    assert capsys.readouterr().out.splitlines() == [
        "   cosine  relevance  id  metadata",
        "1   0.300       0.75  a",
    ]


def test_search_without_hits_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    api = FakeApi().on("POST /search", found())
    command_runner(search, api, monkeypatch)("unicorn", "--collection", "pets", "--filter", '{"n": 1}')
    assert capsys.readouterr().out == "nothing found\n"
    assert body(api.requests[0])["filter"] == {"n": 1}


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [("[1]", '\'[1]\' must be an object, such as {"album": "pets"}'), ("x", "'x' is not JSON")],
)
def test_filter_that_is_no_object_is_explained(
    condition: str, complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with pytest.raises(SystemExit):
        command_runner(search, FakeApi(), monkeypatch)("cat", "--filter", condition)
    assert f"argument --filter: {complaint}" in capsys.readouterr().err


def test_search_takes_one_query(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    run = command_runner(search, FakeApi(), monkeypatch)
    for arguments in [[], ["cat", "--id", "a"], ["cat", "--filter", "[]"]]:
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code == 2


def test_classify_prints_a_bar_for_each_label(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("POST /classify", judged(("a dog", 0.75), ("猫", 0.25)))
    run = command_runner(classify, api, monkeypatch)
    assert run(picture_file, "--label", "a dog", "--label", "猫") == 0
    assert capsys.readouterr().out.splitlines() == [
        str(picture_file),
        "  a dog  " + "█" * 18 + "·" * 6 + "  75.0%",
        "  猫     " + "█" * 6 + "·" * 18 + "  25.0%",
    ]


def test_labels_come_from_a_file_too(
    picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.txt").write_text("a dog\n\n a cat, asleep \n")
    api = FakeApi().on("POST /classify", judged(("x", 1)))
    run = command_runner(classify, api, monkeypatch)
    run(picture_file, "--label", "first", "--labels-file", tmp_path / "labels.txt", "--template", "a {}.")
    sent = dict(parts(api.requests[0]))
    assert json.loads(sent["labels"]) == ["first", "a dog", "a cat, asleep"]
    assert sent["template"] == b"a {}."


def test_classify_without_labels_says_what_to_give(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_runner(classify, FakeApi(), monkeypatch)(picture_file)
    assert "diptych classify: error: no labels: give --label or --labels-file" in capsys.readouterr().err


def test_classify_gives_machines_json(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("POST /classify", judged(("a", 1.0)))
    command_runner(classify, api, monkeypatch)(picture_file, "--label", "a", "--json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"] == MODEL
    assert printed["data"][0]["predictions"] == [
        {"label": "a", "score": 1.0, "cosine": 0.2, "truncated": False}
    ]


def test_embed_writes_a_matrix_with_images_first(
    picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = command_runner(embed, FakeApi().on("POST /embed", embed_reply), monkeypatch)
    assert run(picture_file, "--text", "a", "--text", "bb", "--out", tmp_path / "rows.npy") == 0
    rows = np.load(tmp_path / "rows.npy", allow_pickle=False)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 6], [0, 1], [1, 2]]


def test_embed_prints_json_without_a_file(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    command_runner(embed, FakeApi().on("POST /embed", embed_reply), monkeypatch)("--text", "abc")
    printed = json.loads(capsys.readouterr().out)
    row = {"text": "abc", "embedding": [0.0, 3.0], "truncated": False}
    assert printed == {"model": MODEL, "data": [row]}


def test_embed_needs_something_to_embed(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_runner(embed, FakeApi(), monkeypatch)()
    assert "diptych embed: error: nothing to embed: give image files or --text" in capsys.readouterr().err


SERVING = {
    "embed": {
        "precision": "int8",
        "reason": "2.00 times as fast as fp32",
        "candidates": [
            {"precision": "fp32", "image_ms": 8.25, "text_ms": 1.5, "passed": True, "error": None},
            {
                "precision": "fp16",
                "image_ms": None,
                "text_ms": None,
                "passed": False,
                "error": "fp16 is for a GPU",
            },
            {"precision": "int8", "image_ms": 4.1234, "text_ms": 0.75, "passed": True, "error": None},
        ],
    },
    "collections": {"precision": "fp32", "reason": "exact"},
    "device": {"provider": "CPUExecutionProvider", "name": None, "reason": "set by DIPTYCH_DEVICE"},
    "running": [
        {"precision": "int8", "provider": "CPUExecutionProvider", "cuda_graphs": None, "tensorrt": None},
        {
            "precision": "fp16",
            "provider": "CUDAExecutionProvider",
            "cuda_graphs": {
                "image": {"captured": True, "reason": "each shape of a batch is captured once"},
                "text": {"captured": False, "reason": "a replay is off"},
            },
            "tensorrt": {"state": "unavailable", "reason": "libnvinfer.so.10 is missing"},
        },
    ],
}


def test_models_show_what_serves(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    rows = [
        {"name": "pictograms", "versions": [1, 2], "active": 2, "source": None, "serving": SERVING},
        {"name": "mine", "versions": [1], "active": None, "source": None},
    ]
    rows[1]["ignored"] = [{"version": 1, "reason": "it is for another GPU"}]
    command_runner(models, FakeApi().on("GET /models", ok({"models": rows})), monkeypatch)()
    assert capsys.readouterr().out.splitlines() == [
        "name        versions  active",
        "pictograms  1, 2      2",
        "mine        1",
        "mine/1 is ignored: it is for another GPU",
        "",
        "pictograms serves",
        "  on CPUExecutionProvider: set by DIPTYCH_DEVICE",
        "  requests in int8: 2.00 times as fast as fp32",
        "    fp32  8.25 ms an image, 1.5 ms a text",
        "    fp16  fp16 is for a GPU",
        "    int8  4.12 ms an image, 0.75 ms a text",
        "  collections in fp32: exact",
        "  fp16 runs images as CUDA graphs: each shape of a batch is captured once",
        "  fp16 runs texts without CUDA graphs: a replay is off",
        "  fp16 in TensorRT, unavailable: libnvinfer.so.10 is missing",
    ]


def test_collections_are_listed_made_and_dropped(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    api = FakeApi().on("GET /collections", ok({"collections": [PETS]})).on("POST /collections", ok(PETS))
    run = command_runner(collections, api.on("DELETE /collections/pets", httpx.Response(204)), monkeypatch)
    assert [run("list"), run("create", "pets"), run("drop", "pets")] == [0, 0, 0]
    assert capsys.readouterr().out.splitlines() == [
        "name  images  files  model  state  created",
        "pets      12    0 B  tiny   ready  2026-01-01T00:00:00Z",
        "created pets for model tiny",
        "dropped pets",
    ]


def test_url_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_URL", "http://elsewhere:9000")
    monkeypatch.setenv("DIPTYCH_API_KEY", "sesame")
    api = FakeApi().on("GET /models", ok({"models": []}))
    command_runner(models, api, monkeypatch)()
    assert api.requests[0].url.host == "elsewhere"
    assert api.requests[0].headers["authorization"] == "Bearer sesame"


def test_image_arguments_may_be_urls(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, picture_file: Path
) -> None:
    url = "https://images.example//a.png"
    api = FakeApi().on("POST /classify", judged(("a cat", 0.9))).on("POST /search", found())
    api.on("POST /embed", embed_reply)
    assert command_runner(classify, api, monkeypatch)(url, "--label", "a cat") == 0
    assert capsys.readouterr().out.splitlines()[0] == url
    assert command_runner(search, api, monkeypatch)("--image", url) == 0
    assert command_runner(embed, api, monkeypatch)(url, picture_file) == 0
    assert body(api.requests[0])["images"] == [url]
    assert body(api.requests[1])["query"] == {"image": url}
    assert body(api.requests[2])["input"] == [{"image": url}]
    assert parts(api.requests[3])[0] == ("image", b"pixels")


def test_collection_is_shown_renamed_and_configured(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    vectors = {"name": "tiny", "version": 3, "precision": "fp32", "decode": "exact"}
    full = PETS | {"n_embedded": 2, "n_kept": 1, "kept_bytes": 1234, "vectors": vectors, "recall": 1.0}
    full |= {"index": {"device": "cpu", "reason": "set by DIPTYCH_INDEX_DEVICE"}}
    api = FakeApi().on("GET /collections/pets", ok(full)).on("PATCH /collections/pets", ok(full))
    run = command_runner(collections, api, monkeypatch)
    assert run("show", "pets") == 0
    told = capsys.readouterr().out
    assert "files    1, 1.2 kB; new ones: original\n" in told
    assert "vectors  tiny/3 (fp32)\n" in told
    assert "search   100.0% of the nearest are found, on cpu: set by DIPTYCH_INDEX_DEVICE\n" in told
    assert run("rename", "pets", "cats") == 0
    assert run("configure", "pets", "--keep", "none") == 0
    assert [body(request) for request in api.requests[1:]] == [{"name": "cats"}, {"keep": "none"}]


def test_sizes_are_said_in_the_largest_unit() -> None:
    sizes = [0, 999, 1_000, 9_949, 9_950, 999_499, 999_500, 12_345_678_901]
    told = ["0 B", "999 B", "1.0 kB", "9.9 kB", "10 kB", "999 kB", "1.0 MB", "12 GB"]
    assert list(map(format_bytes, sizes)) == told


def test_precision_of_a_collection_is_set_and_shown(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    vectors = {"name": "tiny", "version": 3, "precision": "int8", "decode": "exact"}
    own = PETS | {"precision": "int8", "vectors": vectors}
    unserved = own | {"state": "no_precision", "reason": "tiny/4 has no precision 'int8'", "vectors": None}
    api = FakeApi().on("POST /collections", ok(own)).on("PATCH /collections/pets", ok(own))
    api.on("GET /collections/pets", ok(unserved))
    run = command_runner(collections, api, monkeypatch)
    assert run("create", "pets", "--precision", "int8") == 0
    capsys.readouterr()
    assert run("configure", "pets", "--precision", "server") == 0
    assert "vectors  tiny/3 (int8), a precision of its own\n" in capsys.readouterr().out
    assert run("show", "pets") == 0
    told = capsys.readouterr().out
    assert "vectors  of tiny (int8, its own), which is not served\n" in told
    assert "state    no_precision: tiny/4 has no precision 'int8'\n" in told
    assert [body(request) for request in api.requests[:2]] == [
        {"name": "pets", "keep": "original", "precision": "int8"},
        {"precision": "server"},
    ]
    with pytest.raises(SystemExit, match="2"):
        run("configure", "pets")
    assert "nothing to change: give --keep or --precision" in capsys.readouterr().err
