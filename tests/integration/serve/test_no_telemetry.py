"""Nothing that we load writes or sends anything about its use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.tiny_bundle import TINY, write_tiny_bundle

LOAD = """
import time
import {package}
import onnxruntime
onnxruntime.InferenceSession({graph!r}, providers=["CPUExecutionProvider"])
time.sleep(0.5)  # its reporter works in a thread of its own
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = tmp_path_factory.mktemp("repo")
    write_tiny_bundle(repo)
    return repo / TINY / "1" / "image_encoder.onnx"


@pytest.mark.parametrize("package", ["diptych", "diptych_training"])
def test_onnxruntime_keeps_no_device_id_and_no_events(package: str, graph: Path, tmp_path: Path) -> None:
    assert left_behind(package, graph, tmp_path) == []


def test_onnxruntime_by_itself_would_or_this_test_says_nothing(graph: Path, tmp_path: Path) -> None:
    """Once this fails, a release without a reporter is here, and these tests may go."""
    assert any("deviceid" in name for name in left_behind("os", graph, tmp_path))


def left_behind(package: str, graph: Path, home: Path) -> list[str]:
    """Names of all that a process which loads the package and a graph has put into its home folder."""
    quiet = {"ORT_DISABLE_TELEMETRY", "CI", "TF_BUILD", "GITHUB_ACTIONS", "XDG_CACHE_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in quiet}
    program = LOAD.format(package=package, graph=str(graph))
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env={**kept, "HOME": str(home)})
    return [path.name for path in home.rglob("*")]
