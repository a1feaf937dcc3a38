"""Commands that call a server: URL, key, time-out, image arguments, errors."""

from pathlib import Path
from types import ModuleType

import httpx
import pytest

from diptych.cli import main
from diptych.cli.commands import classify, embed, models, search
from support.command_line import Capture, command_runner
from support.fake_api import (
    PETS,
    FakeApi,
    body,
    classify_reply,
    embed_reply,
    ok,
    parts,
    problem,
    search_reply,
)


def test_url_and_key_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_URL", "http://elsewhere:9000")
    monkeypatch.setenv("DIPTYCH_API_KEY", "sesame")
    api = FakeApi().on("GET /models", ok({"models": []}))
    command_runner(models, api, monkeypatch)()
    assert api.requests[0].url.host == "elsewhere"
    assert api.requests[0].headers["authorization"] == "Bearer sesame"


@pytest.mark.parametrize("seconds", ["0", "nan"])
def test_invalid_timeout_is_wrong_usage(
    seconds: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for variable in (False, True):
        monkeypatch.setenv("DIPTYCH_TIMEOUT_S", seconds if variable else "")
        with pytest.raises(SystemExit, match="2"):
            command_runner(models, FakeApi(), monkeypatch)(*([] if variable else ["--timeout-s", seconds]))
        assert f"error: --timeout-s is {seconds}, must be more than 0" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://host", "http://host:port"])
def test_invalid_url_is_wrong_usage(url: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_runner(models, FakeApi(), monkeypatch)("--url", url)
    assert f"diptych models: error: --url {url!r} " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("there", "hint"),
    [
        (["default", "pets"], "did you mean 'pets'?"),
        (["default", "scans"], "there are: default, scans"),
        ([], "`diptych add` makes collections"),
    ],
)
def test_unknown_collection_is_answered_with_those_that_the_key_may_see(
    there: list[str], hint: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("POST /search", problem(404, "no collection named 'pet'"))
    api.on("GET /collections", ok({"collections": [PETS | {"name": name} for name in there]}))
    assert command_runner(search, api, monkeypatch)("a cat", "--collection", "pet") == 1
    assert capsys.readouterr().err == f"diptych: no collection named 'pet'; {hint} (HTTP 404)\n"


@pytest.mark.parametrize("command", [classify, embed])
def test_folder_stands_for_its_images(
    command: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "notes.txt", "deep/c.jpg", "a.png"):
        (tmp_path / name).write_bytes(name.encode())
    api = FakeApi().on("POST /classify", problem(422, "stop here")).on("POST /embed", embed_reply)
    labels = ["--label", "x"] if command is classify else []
    command_runner(command, api, monkeypatch)(tmp_path, *labels)
    sent = [content for name, content in parts(api.requests[0]) if name == "image"]
    assert sent == [b"a.png", b"b.png", b"deep/c.jpg"]


def test_image_arguments_can_be_urls(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, picture_file: Path
) -> None:
    url = "https://images.example//a.png"
    hit = {"id": "tom", "cosine": 0.3, "metadata": {}}
    api = FakeApi().on("POST /classify", classify_reply(("a cat", 0.9))).on("POST /embed", embed_reply)
    api.on("POST /search", search_reply(hit))
    assert command_runner(classify, api, monkeypatch)(url, "--label", "a cat") == 0
    assert capsys.readouterr().out.splitlines()[0] == url
    assert command_runner(search, api, monkeypatch)("--image", url) == 0
    assert command_runner(embed, api, monkeypatch)(url, picture_file) == 0
    classified, searched, embedded, uploaded = [one for one in api.requests if one.method == "POST"]
    assert body(classified)["images"] == [url]
    assert body(searched)["query"] == [{"image": url, "weight": 1.0}]
    assert body(embedded)["input"] == [{"image": url}]
    assert parts(uploaded)[0] == ("image", b"pixels")


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "absent"),
        ("add", ".", "--metadata", "absent"),
        ("classify", ".", "--labels-file", "absent"),
        ("search", "--image", "absent"),
        ("vectors", ".", "--model", "tiny/1", "--items", "absent"),
        ("restore", "absent"),
    ],
    ids=" ".join,
)
def test_missing_file_or_folder_is_wrong_usage_and_named(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "absent: no such file or folder\n" in capsys.readouterr().err


def test_error_is_one_line_with_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    api = FakeApi().on("GET /models", problem(401, "an API key is needed"))
    assert command_runner(models, api, monkeypatch)() == 1
    assert capsys.readouterr().err == "diptych: an API key is needed (HTTP 401)\n"


def test_interrupt_ends_with_exit_code_130(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    assert command_runner(models, FakeApi().on("GET /models", interrupt), monkeypatch)() == 130
