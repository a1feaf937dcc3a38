"""The server does what its description says: schemathesis makes requests of it, with all of its checks.

The limits of the server are small, so that values at a limit and over it are soon made.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import RunningServer, serve
from support.tiny_bundle import TINY

ROOT = Path(__file__).parents[2]
RUN = "from schemathesis.cli import schemathesis; schemathesis()"
KEY = "correct horse"
SETTINGS = {
    "DIPTYCH_API_KEY": KEY,
    "DIPTYCH_MAX_LABELS": "6",
    "DIPTYCH_MAX_ITEMS": "4",
    "DIPTYCH_MAX_JOB_ITEMS": "6",
    "DIPTYCH_MAX_K": "20",
}
CONSTANTS = {"max_openai_inputs": 4, "max_add_items": 4, "max_add_vectors": 6, "max_text_chars": 200}


@pytest.fixture
def server(tiny_repo: Path, tmp_path: Path) -> Iterator[RunningServer]:
    with serve(tiny_repo, TINY, tmp_path / "data", environment=SETTINGS, constants=CONSTANTS) as running:
        yield running


def check(server: RunningServer, repo: Path, folder: Path, *flags: str, **settings: str) -> None:
    """Run schemathesis with all its checks, which are on by default; the server must log no error, either."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "tests"),
        "SCHEMATHESIS_HOOKS": "support.schemathesis_hooks",
        "SERVED_BUNDLE": str(repo / TINY / "1"),
        **settings,
    }
    config = ["--config-file", str(ROOT / "tests" / "support" / "schemathesis.toml")]
    request = ["run", f"{server.url}/openapi.json", "-H", f"X-API-Key: {KEY}"]
    quiet = ["--no-color", "--suppress-health-check", "all", "--continue-on-failure"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *config, *request, *quiet, *flags],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert [line for line in server.log() if line.get("status", 0) >= 500 or line["level"] == "error"] == []


def test_few_requests_are_answered_as_described(
    server: RunningServer, tiny_repo: Path, tmp_path: Path
) -> None:
    check(server, tiny_repo, tmp_path, "--phases", "fuzzing", "--max-examples", "2", "--seed", "1")


@pytest.mark.long
@pytest.mark.api_conformance
def test_values_at_limits_and_unknown_methods_are_answered_as_described(
    server: RunningServer, tiny_repo: Path, tmp_path: Path
) -> None:
    check(server, tiny_repo, tmp_path, "--phases", "coverage", FLAT_FILTERS="yes")


@pytest.mark.long
@pytest.mark.api_conformance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("phase", ["fuzzing", "stateful"])
def test_many_requests_are_answered_as_described(
    server: RunningServer, tiny_repo: Path, tmp_path: Path, phase: str
) -> None:
    n = os.environ.get("API_EXAMPLES", "100")
    check(server, tiny_repo, tmp_path, "--phases", phase, "--max-examples", n)
