"""The code blocks of the client's pages run as they stand, one after the other, against the tiny model."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.documents import DOCS, ROOT, blocks
from support.pictures import picture
from support.server import serve
from support.tiny_bundle import TINY, write_tiny_bundle


@pytest.mark.parametrize(
    ("page", "n_blocks"), [(DOCS / "python-client.md", 3), (ROOT / "clients" / "python" / "README.md", 1)]
)
def test_blocks_of_the_client_page_run_as_they_stand(page: Path, n_blocks: int, tmp_path: Path) -> None:
    codes = [code for _, code in blocks(page, "python")]
    assert len(codes) == n_blocks
    write_tiny_bundle(tmp_path / "model_repo")
    (tmp_path / "cat.png").write_bytes(picture("red"))
    (tmp_path / "broken.png").write_bytes(b"broken")
    with serve(tmp_path / "model_repo", TINY, tmp_path / "data") as server:
        for code in codes:
            done = subprocess.run(
                [sys.executable, "-c", code.replace("http://127.0.0.1:8000", server.url)],
                cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, ""), code
            assert done.stdout, code
