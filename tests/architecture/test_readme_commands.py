"""Command lines that READMEs show are ones that the commands take; nothing is run."""

import argparse
import os
from pathlib import Path

import pytest

from diptych import cli as serving
from diptych_training import cli as training
from support.readmes import ROOT, command_lines

PARSERS = {"diptych": serving.build_parser, "diptych-train": training.build_parser}
LINES = [(readme.relative_to(ROOT), words) for readme, words in command_lines(tuple(PARSERS))]


def parse(words: list[str]) -> argparse.Namespace:
    return PARSERS[Path(words[0]).name]().parse_args(words[1:])


@pytest.mark.parametrize(("readme", "words"), LINES)
def test_command_line_is_taken_by_its_parser(
    readme: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: True)  # the files that READMEs name are the reader's
    try:
        parse(words)
    except SystemExit:
        pytest.fail(f"{readme}: {' '.join(words)}\n{capsys.readouterr().err}")


def test_both_programs_are_shown() -> None:
    shown = {(readme.as_posix(), Path(words[0]).name) for readme, words in LINES}
    assert {
        ("README.md", "diptych"),
        ("README.md", "diptych-train"),
        ("server/README.md", "diptych"),
        ("training/README.md", "diptych"),
        ("training/README.md", "diptych-train"),
    } <= shown


def test_plans_of_the_default_model_are_checked_as_the_version_that_they_become() -> None:
    newest = max(int(folder.name) for folder in (ROOT / "model_repo" / "pictograms").iterdir())
    exports = [parse(words) for _, words in LINES if words[1] == "export" and "--tensorrt" in words]
    (export,) = (args for args in exports if args.name == "pictograms")
    checked = [words for _, words in LINES if words[1] == "check" and str(export.model_repo) in words]
    assert export.from_version == newest
    assert [words[2] for words in checked] == [f"pictograms/{newest + 1}"]


def test_command_line_that_the_parser_lacks_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["diptych-train", "export", "--runs", "mine"])
    assert "required" in capsys.readouterr().err
