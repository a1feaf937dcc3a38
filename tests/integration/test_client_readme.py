"""The code blocks of the client's README run as they stand, one after the other, against the tiny model."""

import re
import subprocess
import sys
from pathlib import Path

from support.pictures import picture
from support.server import serve
from support.tiny_bundle import TINY, write_tiny_bundle

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_blocks_of_the_client_readme_run_as_they_stand(tmp_path: Path) -> None:
    assert len(BLOCKS) == 2
    write_tiny_bundle(tmp_path / "model_repo")
    (tmp_path / "cat.png").write_bytes(picture("red"))
    (tmp_path / "broken.png").write_bytes(b"broken")
    with serve(tmp_path / "model_repo", TINY, tmp_path / "data") as server:
        for block in BLOCKS:
            code = block.replace("http://127.0.0.1:8000", server.url)
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, ""), block
            assert done.stdout, block
