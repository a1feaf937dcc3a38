"""The `bash` and `python` blocks of README and docs run as they stand, with default model and gallery.

Blocks of a page run in their order, with the server of all of them. `console` blocks are not run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.default_model import DEFAULT_MODEL, MODEL_REPO
from support.documents import DOCS, ROOT, blocks, documents
from support.server import RunningServer, serve

PAGES = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in ("quickstart", "http-api", "cli")),
    *(DOCS / f"{name}.md" for name in ("collections", "search", "browse-collections", "labels")),
]
BLOCKS = [(page, *block) for page in PAGES for block in blocks(page, "bash", "python")]
WHOLE_GALLERY = re.compile(r"add server/gallery( |$)", flags=re.MULTILINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with every tenth picture of the gallery, and those that the blocks name."""
    gallery, whole = tmp_path_factory.mktemp("gallery"), ROOT / "server" / "gallery"
    words = set(re.findall(r"\w+", " ".join(block for _, _, block in BLOCKS)))
    lines = (whole / "items.jsonl").read_text(encoding="utf-8").splitlines()
    some = [line for n, line in enumerate(lines) if n % 10 == 0 or json.loads(line)["id"] in words]
    (gallery / "items.jsonl").write_text("\n".join(some), encoding="utf-8")
    for line in some:
        shutil.copy(whole / json.loads(line)["file"], gallery)
    data = tmp_path_factory.mktemp("data")
    with serve(MODEL_REPO, DEFAULT_MODEL, data, "--gallery", str(gallery)) as running:
        running.wait_until_gallery_is_filled(n_images=len(some))
        yield running


def run(language: str, block: str, server: RunningServer) -> subprocess.CompletedProcess[str]:
    code = block.replace("http://127.0.0.1:8000", server.url).replace(
        ".venv/bin/", f"{Path(sys.executable).parent}/"
    )
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `diptych` of this environment
    environment = {**os.environ, "DIPTYCH_URL": server.url, "PATH": path}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            n,
            marks=pytest.mark.long if WHOLE_GALLERY.search(block) else (),
            id=f"{page.relative_to(ROOT)}-{n}",
        )
        for n, (page, _, block) in enumerate(BLOCKS)
    ],
)
def test_block_runs_as_it_stands(number: int, server: RunningServer) -> None:
    _, language, block = BLOCKS[number]
    answer = run(language, block, server)
    assert answer.returncode == 0, f"{block}\n{answer.stdout}\n{answer.stderr}"
    assert refusals(answer.stdout) == [], block


def refusals(printed: str) -> list[str]:
    """The types of the problems among what curl printed, which ends with 0 whatever a server answers."""
    return re.findall(r'"type": ?"(urn:diptych:error:[a-z-]+|about:blank)"', printed)


def test_every_make_target_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pages = [page for page in documents() if page.name != "CHANGELOG.md"]  # which names targets of its day
    shown = [block for page in pages for _, block in blocks(page, "bash", "console", "sh")]
    named = set(re.findall(r"^(?:\$ )?make ([a-z-]+)", "\n".join(shown), flags=re.MULTILINE))
    inline = (re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8")) for page in pages)
    named.update(*inline)
    assert {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()
