"""The code blocks of every README of the repository, and the command lines in them; runs nothing."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(bash|console)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_BETWEEN = frozenset({"&&", "||", ";", "|", "&"})


def readmes() -> list[Path]:
    """Those that are ours: what was copied with a vendor's files is not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*README.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [ROOT / name for name in listed if "/vendor/" not in name]


def command_lines(programs: tuple[str, ...]) -> Iterator[tuple[Path, list[str]]]:
    """(README, words) of each command in `bash` and `console` blocks that one of the programs carries out.

    A program is known by its file name: `.venv/bin/diptych` is `diptych`. A backslash joins two lines.
    """
    for readme in readmes():
        for _, block in _BLOCK.findall(readme.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                for words in _commands(line.removeprefix("$ ")):
                    if Path(words[0]).name in programs:
                        yield readme, words


def inline_commands(start: str) -> Iterator[tuple[Path, list[str]]]:
    """(README, words) of each command in running text, between backticks, that begins so."""
    for readme in readmes():
        for span in re.findall(
            rf"(?<!`)`({re.escape(start)} [^`]+)`(?!`)", readme.read_text(encoding="utf-8")
        ):
            yield readme, shlex.split(span)


def _commands(line: str) -> Iterator[list[str]]:
    """The commands of one line of shell, comments left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in _BETWEEN:
            words.append(word)
        elif words:
            yield words
            words = []
