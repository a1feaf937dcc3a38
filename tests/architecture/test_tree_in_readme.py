"""The tree that the README draws is the tree that is there."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENTRY = re.compile(r"^(?P<path>[A-Za-z0-9_./-]+)\s{2,}\S")


def drawn_entries() -> list[str]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.split("<!-- tree -->")[1].split("```")[1]
    found = (ENTRY.match(line) for line in block.splitlines())
    return [match["path"].rstrip("/") for match in found if match]


def tracked_top_level() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    return {line.split("/")[0] for line in listed if "/" in line and not line.startswith(".")}


def test_every_drawn_entry_exists() -> None:
    assert [entry for entry in drawn_entries() if not (ROOT / entry).exists()] == []


def test_every_top_level_folder_is_drawn_with_a_purpose() -> None:
    drawn = {entry.split("/")[0] for entry in drawn_entries()}
    assert tracked_top_level() - drawn == set()
