"""`diptych classify`: the request that it sends and what it prints."""

import io
import json
import sys
from pathlib import Path

import pytest

from diptych.cli.commands import classify
from diptych.cli.output.console import MAX_CELL_CHARS
from support.command_line import Capture, command_runner
from support.fake_api import (
    MODEL,
    FakeApi,
    classify_reply,
    ok,
    parts,
    problem,
)


def test_classify_prints_a_bar_for_each_label(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("POST /classify", classify_reply(("a dog", 0.75), ("猫", 0.25)))
    run = command_runner(classify, api, monkeypatch)
    assert run(picture_file, "--label", "a dog", "--label", "猫") == 0
    assert capsys.readouterr().out.splitlines() == [
        str(picture_file),
        "  a dog  " + "█" * 18 + "·" * 6 + "  75.0%",
        "  猫     " + "█" * 6 + "·" * 18 + "  25.0%",
    ]


def test_labels_can_come_from_a_file(
    picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.txt").write_text("a dog\n\n a cat, asleep \n")
    api = FakeApi().on("POST /classify", classify_reply(("x", 1)))
    run = command_runner(classify, api, monkeypatch)
    run(picture_file, "--label", "first", "--labels-file", tmp_path / "labels.txt", "--template", "a {}.")
    sent = dict(parts(api.requests[0]))
    assert json.loads(sent["labels"]) == ["first", "a dog", "a cat, asleep"]
    assert sent["template"] == b"a {}."


def test_classify_without_labels_names_the_missing_flags(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_runner(classify, FakeApi(), monkeypatch)(picture_file)
    assert "diptych classify: error: no labels: give --label or --labels-file" in capsys.readouterr().err


def test_truncated_labels_are_noted_and_do_not_break_the_layout(
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


def test_warnings_of_the_server_are_printed_beside_the_result(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    warning = {"item": "labels[0]", "detail": "'a,b' is one label"}
    answer = ok({"model": MODEL, "data": [{"index": 0, "predictions": [CAT]}], "warnings": [warning]})
    run = command_runner(classify, FakeApi().on("POST /classify", answer), monkeypatch)
    assert run(picture_file, "--label", "a,b", "--json") == 0
    printed = capsys.readouterr()
    assert printed.err == "warning: labels[0]: 'a,b' is one label\n"
    assert json.loads(printed.out)["warnings"] == [warning]


def test_bad_image_is_named_by_its_file(
    picture_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    api = FakeApi().on("POST /classify", problem(422, "the decoder failed", "images[1]"))
    run = command_runner(classify, api, monkeypatch)
    other = picture_file.with_name("broken.png")
    other.write_bytes(b"x")
    assert run(picture_file, other, "--label", "a") == 1
    assert capsys.readouterr().err == f"diptych: {other}: the decoder failed (HTTP 422)\n"


CAT = {"label": "cat", "score": 1, "cosine": 0.1, "truncated": False}


def test_bars_are_printed_as_question_marks_if_the_terminal_cannot_encode_them(
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
