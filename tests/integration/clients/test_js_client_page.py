"""The `js` blocks of the client's pages run as they stand, one after the other, against the tiny model."""

from pathlib import Path

import pytest

from support.documents import DOCS, ROOT, blocks
from support.node import PAGE_CLIENT, needs_node, run_node
from support.pictures import picture
from support.server import serve
from support.tiny_bundle import TINY, write_tiny_bundle


@needs_node
@pytest.mark.parametrize(
    ("page", "n_blocks"), [(DOCS / "javascript-client.md", 3), (ROOT / "clients" / "js" / "README.md", 1)]
)
def test_blocks_of_the_client_page_run_as_they_stand(page: Path, n_blocks: int, tmp_path: Path) -> None:
    codes = [code for _, code in blocks(page, "js")]
    assert len(codes) == n_blocks
    write_tiny_bundle(tmp_path / "model_repo")
    project = tmp_path / "project"
    (project / "node_modules").mkdir(parents=True)
    (project / "node_modules" / "diptych-client").symlink_to(PAGE_CLIENT)
    (project / "cat.png").write_bytes(picture("red"))
    (project / "broken.png").write_bytes(b"broken")
    with serve(tmp_path / "model_repo", TINY, tmp_path / "data") as server:
        for number, code in enumerate(codes):
            block = project / f"{number}.mjs"
            block.write_text(code.replace("http://127.0.0.1:8000", server.url))
            done = run_node(block.name, cwd=project)
            assert (done.returncode, done.stderr) == (0, ""), code
            assert done.stdout, code
