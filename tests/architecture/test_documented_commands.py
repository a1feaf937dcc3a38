"""Command lines that READMEs and docs show are ones that the commands take; nothing is run."""

import argparse
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych import cli as serving
from diptych_training import cli as training
from support.documents import DOCS, ROOT, command_lines

PARSERS = {"diptych": serving.build_parser, "diptych-train": training.build_parser}
LINES = [(readme.relative_to(ROOT), words) for readme, words in command_lines(tuple(PARSERS))]


def parse(words: list[str]) -> argparse.Namespace:
    return PARSERS[Path(words[0]).name]().parse_args(words[1:])


@pytest.mark.parametrize(("readme", "words"), LINES)
def test_command_line_is_taken_by_its_parser(
    readme: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: True)  # the files that pages name are the reader's
    try:
        parse(words)
    except SystemExit:
        pytest.fail(f"{readme}: {' '.join(words)}\n{capsys.readouterr().err}")


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Each command as one types it, such as `diptych collections export`; groups are left out."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield parser.prog
    for group in groups:
        for child in group.choices.values():
            yield from commands(child)


@pytest.mark.parametrize("command", list(commands(serving.build_parser())))
def test_command_is_on_the_page_of_the_command_line(command: str) -> None:
    named = set[str]()
    for span in re.findall(r"`(diptych [^`\n]+)`", (DOCS / "cli.md").read_text(encoding="utf-8")):
        words = [word.split("|") for word in span.replace("\\|", "|").split()[: len(command.split())]]
        named.update(" ".join(choice) for choice in itertools.product(*words))
    assert command in named, f"docs/cli.md lacks `{command}`"
