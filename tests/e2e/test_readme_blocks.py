"""The code blocks of the README run as they stand, against the default model and the gallery."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import RunningServer, serve

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(bash|python|console)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(
        ROOT / "model_repo", "pictograms", tmp_path_factory.mktemp("data"),
        "--gallery", str(ROOT / "server" / "gallery"),
    ) as running:  # fmt: skip
        running.wait_until_gallery_is_filled(n_images=642)
        yield running


def run(language: str, block: str, server: RunningServer) -> subprocess.CompletedProcess[str]:
    code = block.replace("http://127.0.0.1:8000", server.url).replace(
        ".venv/bin/", f"{Path(sys.executable).parent}/"
    )
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
    environment = {**os.environ, "DIPTYCH_URL": server.url}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


LONG = [n for n, (_, block) in enumerate(BLOCKS) if "diptych add" in block]  # the whole gallery, once more


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(n, marks=pytest.mark.long if n in LONG else ())
        for n, (language, _) in enumerate(BLOCKS)
        if language != "console"
    ],
)
def test_block_runs_as_it_stands(number: int, server: RunningServer) -> None:
    language, block = BLOCKS[number]
    answer = run(language, block, server)
    assert answer.returncode == 0, f"{block}\n{answer.stdout}\n{answer.stderr}"
    assert refusals(answer.stdout) == [], block


def refusals(printed: str) -> list[str]:
    """The types of the problems among what curl printed, which ends with 0 whatever a server answers."""
    return re.findall(r'"type": ?"(urn:diptych:error:[a-z-]+|about:blank)"', printed)


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [("search?q=a&k=0", "urn:diptych:error:invalid-value"), ("nowhere", "about:blank")],
)
def test_block_that_the_server_refuses_is_noticed(asked: str, refusal: str, server: RunningServer) -> None:
    answer = run("bash", f"curl -s 'http://127.0.0.1:8000/{asked}'\n", server)
    assert answer.returncode == 0
    assert refusals(answer.stdout) == [refusal]


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(block for _, block in BLOCKS)))
    assert {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()
