import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from integration.store_parts import Opened, tiny_png
from support.tiny_bundle import write_tiny_bundle

TESTS = Path(__file__).parents[2]


def add_until_killed(model_repo: Path, data_dir: Path, n_lines: int) -> list[str]:
    """Ids that were acknowledged before the process was killed in the middle of its work."""
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "integration" / "adding_process.py"), str(model_repo), str(data_dir)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    with process:
        acknowledged = [process.stdout.readline().strip() for _ in range(n_lines)]
        process.kill()
        acknowledged += process.stdout.read().split()
    return acknowledged


@pytest.mark.parametrize("n_lines", [40])
def test_acknowledged_images_survive_kill(tmp_path: Path, n_lines: int) -> None:
    model_repo, data_dir = tmp_path / "model_repo", tmp_path / "data"
    write_tiny_bundle(model_repo)
    acknowledged = add_until_killed(model_repo, data_dir, n_lines)
    acknowledged += add_until_killed(model_repo, data_dir, n_lines)
    assert len(acknowledged) >= 2 * n_lines

    async def check() -> None:
        async with Opened(model_repo, data_dir, version=1) as opened:
            info = await opened.collections.get("default")
            # each kill may have hit between the commit and the word of it
            assert len(acknowledged) <= info.n_images <= len(acknowledged) + 2
            assert (info.state, len(opened.files())) == ("ready", info.n_images)
            for id in acknowledged:
                payload, _ = await opened.collections.images.original("default", id)
                assert payload == tiny_png(int(id[1:]))
                query = await opened.collections.images.embedding("default", id)
                best, *_ = await opened.search("default", query, k=1)
                assert best.cosine == pytest.approx(1, abs=1e-5)

    asyncio.run(check())
