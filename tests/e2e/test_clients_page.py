"""Every block of docs/clients.md runs as it stands against a server, with the release that the page names."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from support.default_model import DEFAULT_MODEL, MODEL_REPO
from support.documents import DOCS, ROOT, blocks
from support.foreign_clients import folder_with_npm_clients, needs_npm, python_with_clients
from support.server import RunningServer, serve

PAGE = DOCS / "clients.md"
HERE = ("huggingface_hub", "openai")  # in the environment of the tests
BLOCKS = blocks(PAGE, "python", "js")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(MODEL_REPO, DEFAULT_MODEL, tmp_path_factory.mktemp("data")) as running:
        yield running


def is_here(block: str) -> bool:
    """Whether the block imports a client of this environment."""
    return any(re.search(rf"^(import .*\b|from ){name}\b", block, re.MULTILINE) for name in HERE)


PYTHON_BLOCKS = [block for language, block in BLOCKS if language == "python"]
HERE_BLOCKS = [block for block in PYTHON_BLOCKS if is_here(block)]
FOREIGN_BLOCKS = [block for block in PYTHON_BLOCKS if not is_here(block)]
NPM_BLOCKS = [block for language, block in BLOCKS if language == "js"]


def run(command: list[str]) -> list[str]:
    """The lines that it printed."""
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # looks nothing up
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


def of(server: RunningServer, block: str) -> str:
    assert "http://127.0.0.1:8000" in block
    return block.replace("http://127.0.0.1:8000", server.url)


def check(printed: list[str]) -> None:
    """The cosine with "a cat" is the greater one; or the label is right, and there are two embeddings."""
    if printed[-1].startswith("["):
        cat, rocket = json.loads(printed[-1])
        assert cat > rocket + 0.1
    else:
        label, shape = printed
        assert (label, re.findall(r"\d+", shape)[0]) == ("cat", "2")


@pytest.mark.parametrize("number", range(len(HERE_BLOCKS)))
def test_block_runs_with_a_client_of_the_tests(number: int, server: RunningServer) -> None:
    block = HERE_BLOCKS[number]
    check(run([sys.executable, "-c", of(server, block)]))


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("number", range(len(FOREIGN_BLOCKS)))
def test_block_runs_with_a_client_of_another_environment(number: int, server: RunningServer) -> None:
    block = FOREIGN_BLOCKS[number]
    check(run([str(python_with_clients()), "-c", of(server, block)]))


@needs_npm
@pytest.mark.parametrize("number", range(len(NPM_BLOCKS)))
def test_block_runs_with_a_client_from_npm(number: int, server: RunningServer) -> None:
    block = NPM_BLOCKS[number]
    module = folder_with_npm_clients() / f"{uuid.uuid4().hex}.mjs"  # which finds the packages beside it
    module.write_text(of(server, block), encoding="utf-8")
    try:
        check(run(["node", str(module)]))
    finally:
        module.unlink()
