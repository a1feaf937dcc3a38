"""What the commands say when something fails or was cut, and what never reaches the terminal."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from diptych.cli import main
from diptych.cli.commands import classify, models, search
from diptych.cli.output.console import MAX_CELL_CHARS
from support.command_line import command_runner
from support.fake_api import MODEL, FakeApi, problem

Capture = pytest.CaptureFixture[str]
CAT = {"label": "cat", "score": 1, "cosine": 0.1, "truncated": False}


def ok(value: object) -> httpx.Response:
    return httpx.Response(200, json=value)


def found(*hits: dict[str, Any]) -> httpx.Response:
    return ok({"model": MODEL, "collection": "pets", "hits": list(hits), "truncated": False})


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    (tmp_path / "cat.png").write_bytes(b"pixels")
    return tmp_path / "cat.png"


def test_words_that_were_cut_are_noted(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    answer = {"model": MODEL, "collection": "pets", "hits": [], "truncated": True}
    assert command_runner(search, FakeApi().on("POST /search", ok(answer)), monkeypatch)("cat " * 99) == 0
    assert "the words were truncated" in capsys.readouterr().err


def test_bad_image_of_a_search_is_named_by_its_file(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("POST /search", problem(422, "the decoder failed", "query[0]"))
    assert command_runner(search, api, monkeypatch)("--image", picture_file) == 1
    assert capsys.readouterr().err == f"diptych: {picture_file}: the decoder failed (HTTP 422)\n"


def test_hit_cannot_command_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    api = FakeApi().on("POST /search", found({"id": "a", "cosine": 0, "metadata": {"x": "\x1b[2J\n"}}))
    command_runner(search, api, monkeypatch)("cat")
    assert "\x1b" not in capsys.readouterr().out


def test_labels_that_were_cut_are_noted_and_do_not_break_the_layout(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    long = {"label": "dog " * 50, "score": 1, "cosine": 0.2, "truncated": True}
    short = {"label": "cat", "score": 0, "cosine": 0.1, "truncated": False}
    answer = ok({"model": MODEL, "data": [{"index": 0, "predictions": [long, short]}]})
    run = command_runner(classify, FakeApi().on("POST /classify", answer), monkeypatch)
    assert run(picture_file, "--label", "dog " * 50, "--label", "cat") == 0
    printed = capsys.readouterr()
    assert {len(line) for line in printed.out.splitlines()[1:]} == {2 + MAX_CELL_CHARS + 2 + 24 + 1 + 6}
    assert printed.err.startswith("note: truncated, longer than the model reads: dog dog")


def test_bad_label_is_named_as_a_label(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("POST /classify", problem(422, "'a' is labels[0] too", "labels[1]"))
    run = command_runner(classify, api, monkeypatch)
    assert run(picture_file, "--label", "a", "--label", "a") == 1
    assert capsys.readouterr().err == "diptych: labels[1]: 'a' is labels[0] too (HTTP 422)\n"


def test_bad_image_is_named_by_its_file(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("POST /classify", problem(422, "the decoder failed", "images[1]"))
    run = command_runner(classify, api, monkeypatch)
    other = picture_file.with_name("broken.png")
    other.write_bytes(b"x")
    assert run(picture_file, other, "--label", "a") == 1
    assert capsys.readouterr().err == f"diptych: {other}: the decoder failed (HTTP 422)\n"


def test_error_is_one_line_and_exit_code_one(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    api = FakeApi().on("GET /models", problem(401, "an API key is needed"))
    assert command_runner(models, api, monkeypatch)() == 1
    assert capsys.readouterr().err == "diptych: an API key is needed (HTTP 401)\n"


def test_error_cannot_command_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    api = FakeApi().on("GET /models", problem(404, "no \x1b[2J\x9b2J"))
    assert command_runner(models, api, monkeypatch)() == 1
    assert capsys.readouterr().err == "diptych: no \ufffd[2J\ufffd2J (HTTP 404)\n"


def test_json_cannot_command_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    hit = {"id": "ä", "cosine": 0, "metadata": {"x": "\x9b2J\udcff"}}
    answer = json.dumps({"model": MODEL, "collection": "pets", "hits": [hit]})
    api = FakeApi().on("POST /search", httpx.Response(200, text=answer))
    command_runner(search, api, monkeypatch)("cat", "--json")
    printed = capsys.readouterr().out
    assert printed.rstrip("\n").isprintable()
    assert '"ä"' in printed
    assert json.loads(printed)["hits"][0]["metadata"] == {"x": "\x9b2J\udcff"}


def test_bars_are_printed_on_a_terminal_that_has_none(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="ascii"))
    run = command_runner(
        classify,
        FakeApi().on("POST /classify", ok({"model": MODEL, "data": [{"index": 0, "predictions": [CAT]}]})),
        monkeypatch,
    )
    assert run(picture_file, "--label", "cat") == 0
    assert b"cat  ????" in screen.getvalue()


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf"])
def test_timeout_that_no_network_can_wait_is_refused(
    seconds: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for variable in (False, True):
        monkeypatch.setenv("DIPTYCH_TIMEOUT_S", seconds if variable else "")
        with pytest.raises(SystemExit, match="2"):
            command_runner(models, FakeApi(), monkeypatch)(*([] if variable else ["--timeout-s", seconds]))
        assert f"error: --timeout-s is {seconds}, must be more than 0" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["foo", "ftp://host", "http://host:port", ""])
def test_url_that_is_none_is_wrong_usage(url: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_runner(models, FakeApi(), monkeypatch)("--url", url)
    assert f"diptych models: error: --url {url!r} " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "abc"], "--port: Input should be a valid integer"),
        (["--port", "99999"], "--port: Input should be less than or equal to 65535"),
        (["--device", "foo"], "--device: Input should be 'auto', 'cpu' or 'cuda'"),
        (["--api-key", "s3cret"], "--api-key: needs at least 8 characters, this key has 6"),
    ],
)
def test_flag_of_serve_that_no_setting_takes_is_wrong_usage(
    arguments: list[str], complaint: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", *arguments])
    assert f"diptych serve: error: {complaint}" in capsys.readouterr().err


def test_variable_that_no_setting_takes_is_named_as_a_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("DIPTYCH_PORT", "abc")
    assert main(["serve", "--model", "tiny"]) == 1
    assert capsys.readouterr().err.startswith("diptych: DIPTYCH_PORT: Input should be a valid integer")


@pytest.mark.parametrize("model", ["tiny/one", "tiny/1/2", "/1", "tiny/"])
def test_check_takes_names_and_versions_only(model: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["check", model])
    assert f"error: {model!r} is not of the form NAME or NAME/VERSION" in capsys.readouterr().err


def test_interrupt_ends_with_the_code_of_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    assert command_runner(models, FakeApi().on("GET /models", interrupt), monkeypatch)() == 130


def test_help_shows_any_url(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("DIPTYCH_URL", "http://[fe80::1%25eth0]:8000")
    with pytest.raises(SystemExit):
        command_runner(models, FakeApi(), monkeypatch)("--help")
    assert "http://[fe80::1%25eth0]:8000" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "absent"),
        ("add", ".", "--metadata", "absent"),
        ("classify", "absent", "--label", "red"),
        ("classify", ".", "--labels-file", "absent"),
        ("embed", "absent", "--out", "x.npy"),
        ("search", "--image", "absent"),
        ("vectors", "absent", "--model", "tiny/1"),
        ("vectors", ".", "--model", "tiny/1", "--items", "absent"),
        ("collections", "import", "absent"),
        ("restore", "absent"),
    ],
    ids=" ".join,
)
def test_file_or_folder_that_is_not_there_is_wrong_usage_and_named(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "absent: no such file or folder\n" in capsys.readouterr().err
