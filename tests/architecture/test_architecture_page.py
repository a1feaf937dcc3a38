"""docs/architecture.md is true: its paths exist, and its modules define the steps of its walks."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server" / "src" / "diptych"
PLACES = (SERVER, ROOT / "training" / "src" / "diptych_training", ROOT, ROOT / "docs")
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^\| \d+ \| `([\w.]+)` \| `([\w/]+\.py)` \|", PAGE, flags=re.MULTILINE)
PATHS = sorted(set(re.findall(r"`([\w./-]+(?:\.py|\.md|\.toml|/))`", PAGE)))


@pytest.mark.parametrize(("function", "module"), STEPS)
def test_step_of_a_walk_is_defined_in_its_module(function: str, module: str) -> None:
    text = (SERVER / module).read_text(encoding="utf-8")
    for name in function.split("."):
        assert re.search(rf"^\s*(async def|def|class) {name}\b", text, re.MULTILINE), f"{module}: no {name}"


@pytest.mark.parametrize("path", PATHS)
def test_path_exists(path: str) -> None:
    assert any((place / path).exists() for place in PLACES), path


def test_walks_are_found() -> None:
    assert len(STEPS) > 30
    assert len(PATHS) > 40
