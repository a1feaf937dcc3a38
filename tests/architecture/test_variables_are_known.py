"""A server takes every variable that this repository names for one that it knows."""

import re
import subprocess
from pathlib import Path

from diptych.cli.process.variables import OTHER_VARIABLES
from diptych.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
NAME = re.compile(rf"\b{PREFIX}[A-Z][A-Z0-9_]*[A-Z0-9]\b")
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
OF_KUBERNETES = {f"{PREFIX}SERVICE_HOST", f"{PREFIX}PORT_8000_TCP_ADDR"}
OF_TESTS = {f"{PREFIX}APIKEY", f"{PREFIX}COLOUR", f"{PREFIX}PROT"}  # that a server must not know


def named() -> set[str]:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    texts = (
        (ROOT / file).read_text("utf-8", "ignore")
        for file in files.decode().split("\0")
        if Path(file).suffix in {".md", ".py", ".sh", ".yml", ".yaml", ".toml", ".json", ""}
        and file not in {"", "CHANGELOG.md"}  # which names those that were removed
    )
    return {name for text in texts for name in NAME.findall(text)}


def test_every_variable_that_is_named_here_is_known() -> None:
    assert named() - SETTINGS - OTHER_VARIABLES <= OF_KUBERNETES | OF_TESTS
    assert named() >= OTHER_VARIABLES
