"""Clients that others wrote, in environments of their own: some need other releases than the tests do.

An environment is made when it is missing or when the releases here change, in `clients/` of the cache.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diptych_training.paths import cache_dir
from support.node import needs_node

PYTHON = {
    "infinity-client": "0.0.78",
    "langchain-openai": "1.7.4",
    "litellm": "1.83.0",
    "llama-index-embeddings-jinaai": "0.7.0",
}
NPM = {"@huggingface/inference": "4.13.30", "openai": "6.49.0"}
_COMPLETE = ".complete"  # holds what was asked for


def needs_npm(test: Callable[..., None]) -> Callable[..., None]:
    """Leave the test out where there is no npm, or no Node that is new enough."""
    missing = shutil.which("npm") is None
    marked: Callable[..., None] = needs_node(pytest.mark.skipif(missing, reason="needs npm")(test))
    return marked


def python_with_clients() -> Path:
    """The Python that has the clients of `PYTHON`. The first time takes minutes and half a gigabyte."""
    asked = [f"{name}=={version}" for name, version in PYTHON.items()]
    with _environment("python", asked) as (folder, missing):
        if missing:
            _run(sys.executable, "-m", "venv", str(folder))
            _run(str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *asked)
    return folder / "bin" / "python"


def folder_with_npm_clients() -> Path:
    """A folder whose modules may import the clients of `NPM`. The first time takes seconds."""
    asked = [f"{name}@{version}" for name, version in NPM.items()]
    with _environment("npm", asked) as (folder, missing):
        if missing:
            folder.mkdir()
            _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *asked)
    return folder


@contextmanager
def _environment(name: str, asked: list[str]) -> Iterator[tuple[Path, bool]]:
    """A folder in the cache, and whether it has to be filled; one process at a time may fill it."""
    folder, wanted = cache_dir() / "clients" / name, "\n".join(asked)
    folder.parent.mkdir(parents=True, exist_ok=True)
    complete = folder / _COMPLETE
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not complete.exists() or complete.read_text(encoding="utf-8") != wanted
        if missing:
            shutil.rmtree(folder, ignore_errors=True)
        yield folder, missing
        complete.write_text(wanted, encoding="utf-8")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
