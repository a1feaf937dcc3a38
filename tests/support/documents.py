"""The Markdown pages of the repository: their code blocks, command lines, links and anchors. Runs nothing."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(\s*<?([^()\s>]+(?:\([^()\s]*\))?)>?(?:\s+\"[^\"]*\")?\s*\)")
_BETWEEN = frozenset({"&&", "||", ";", "|", "&"})


def documents() -> list[Path]:
    """Every Markdown file of the repository, without those of vendors and the parts of generated cards."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    found = [ROOT / name for name in listed if "/vendor/" not in name and "/src/" not in name]
    return [file for file in found if file.exists()]


def blocks(document: Path, *languages: str) -> list[tuple[str, str]]:
    """(language, text) of each fenced code block in one of the languages."""
    found = _BLOCK.findall(document.read_text(encoding="utf-8"))
    return [(language, text) for language, text in found if language in languages]


def command_lines(programs: tuple[str, ...]) -> Iterator[tuple[Path, list[str]]]:
    """(document, words) of each command in `bash` and `console` blocks that one of the programs carries out.

    A program is known by its file name: `.venv/bin/diptych` is `diptych`. A backslash joins two lines.
    """
    for document in documents():
        for _, block in blocks(document, "bash", "console"):
            for line in _joined(block.replace("\\\n", " ").splitlines()):
                for words in _commands(line.removeprefix("$ ")):
                    if Path(words[0]).name in programs:
                        yield document, words


def links(document: Path) -> list[str]:
    """The targets of all links and images of a document, without those in code."""
    text = _BLOCK.sub("", document.read_text(encoding="utf-8"))
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", text))


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document; a repeated heading gets a number."""
    found: set[str] = set()
    for heading in re.findall(
        r"^#{1,6} +(.+?) *#*$", _BLOCK.sub("", document.read_text(encoding="utf-8")), re.M
    ):
        anchor = anchor_of(heading)
        repeated = (f"{anchor}-{n}" for n in range(1, 1000))
        found.add(anchor if anchor not in found else next(one for one in repeated if one not in found))
    return found


def anchor_of(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it: of a link in it, the text alone."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w -]", "", shown).strip().lower().replace(" ", "-")


def _joined(lines: list[str]) -> Iterator[str]:
    """Lines of shell; a quotation that goes over several lines joins them."""
    held = ""
    for line in lines:
        held = f"{held}\n{line}" if held else line
        try:
            shlex.split(held, comments=True)
        except ValueError:
            continue  # the quotation is still open
        yield held
        held = ""
    assert not held, f"a quotation is not closed: {held}"


def _commands(line: str) -> Iterator[list[str]]:
    """The commands of one line of shell, without comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in _BETWEEN:
            words.append(word)
        elif words:
            yield words
            words = []
