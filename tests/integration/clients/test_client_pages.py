"""The code blocks of the clients' pages run as they stand, one after the other, against the tiny model."""

import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess, run

import httpx
import pytest

from support.documents import DOCS, ROOT, blocks
from support.node import PAGE_CLIENT, needs_node, run_node
from support.pictures import picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY


@pytest.fixture(scope="module")
def server(model_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(model_repo, TINY, tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture
def url(server: RunningServer) -> Iterator[str]:
    """The address of the server, which has nothing that other pages have left."""
    yield server.url
    httpx.delete(f"{server.url}/collections/pets")  # which some pages make


def run_python(code: str, folder: Path) -> "CompletedProcess[str]":
    command = [sys.executable, "-c", code]
    return run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def run_js(code: str, folder: Path) -> "CompletedProcess[str]":
    client = folder / "node_modules" / "diptych-client"
    if not client.exists():
        client.parent.mkdir()
        client.symlink_to(PAGE_CLIENT)
    (folder / "block.mjs").write_text(code)
    return run_node("block.mjs", cwd=folder)


@pytest.mark.parametrize(
    ("page", "language", "n_blocks"),
    [
        (DOCS / "python-client.md", "python", 4),
        (ROOT / "clients" / "python" / "README.md", "python", 1),
        pytest.param(DOCS / "javascript-client.md", "js", 4, marks=needs_node),
        pytest.param(ROOT / "clients" / "js" / "README.md", "js", 1, marks=needs_node),
    ],
    ids=lambda value: value.parent.name if isinstance(value, Path) else None,
)
def test_blocks_of_the_client_page_run_as_they_stand(
    page: Path, language: str, n_blocks: int, url: str, tmp_path: Path
) -> None:
    codes = [code for _, code in blocks(page, language)]
    assert len(codes) == n_blocks
    (tmp_path / "cat.png").write_bytes(picture("red"))
    (tmp_path / "broken.png").write_bytes(b"broken")
    for code in codes:
        ran = run_js if language == "js" else run_python
        done = ran(code.replace("http://127.0.0.1:8000", url), tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), code
        assert done.stdout, code
