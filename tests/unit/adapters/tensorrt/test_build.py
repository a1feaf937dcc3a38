"""Plans are built in a child process, which reports failures and ends with its parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diptych.adapters.tensorrt.build import NICE, PlanJob, build_in_child
from diptych.bundle.tensorrt_build import Extent, Profile
from diptych.errors import BundleError

PROFILE = Profile(batch=Extent(min=1, opt=8, max=8))
JOBS = [PlanJob(graph=Path("image.onnx"), target=Path("/no/image.plan"), profiles=[PROFILE])]
WAIT_S = 30.0
LOWEST_PRIORITY = 19  # of Linux
# A builder that writes its number, and then does not end.
ENDLESS = """
import os, pathlib, sys, time
from diptych.adapters.tensorrt import build as tensorrt_build
def build(jobs):
    pathlib.Path("number.tmp").write_text(str(os.getpid()))
    os.rename("number.tmp", "number")
    time.sleep(600)
tensorrt_build.build = build
tensorrt_build.main(int(sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where modules of the tests lie, and processes run."""
    monkeypatch.chdir(tmp_path)
    paths = (str(tmp_path), *(path for path in sys.path if path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return tmp_path


def stub(folder: Path, text: str) -> str:
    (folder / "stub.py").write_text(text)
    return "stub"


def number_of(folder: Path) -> int:
    deadline = time.monotonic() + WAIT_S
    while not (folder / "number").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int((folder / "number").read_text())


def is_gone(number: int) -> bool:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2][0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_builder_gets_the_jobs_and_runs_at_low_priority(folder: Path) -> None:
    priority = min(os.nice(0) + NICE, LOWEST_PRIORITY)
    text = f"""
import os, sys
from diptych.adapters.tensorrt import build as tensorrt_build
def build(jobs):
    assert [str(job.graph) for job in jobs] == ["image.onnx"]
    assert str(jobs[0].profiles[0]) == "batches of 1:8:8"
    assert os.nice(0) == {priority}
tensorrt_build.build = build
print("what a library says")
sys.exit(tensorrt_build.main(int(sys.argv[1])))
"""
    asyncio.run(build_in_child(JOBS, stub(folder, text)))


def test_builder_imports_no_modules_from_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = stub(folder, "import json")
    started_in = folder / "downloads"
    started_in.mkdir()
    (started_in / "json.py").write_text("raise SystemExit('it was run')")
    monkeypatch.chdir(started_in)
    asyncio.run(build_in_child(JOBS, module))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "import sys; print('a part\\nout of memory', file=sys.stderr); sys.exit(4)",
            "the builder ended with exit code 4: out of memory",
        ),
        ("import os; os.kill(os.getpid(), 11)", "the builder ended with signal 11: it printed nothing"),
    ],
    ids=["exits", "dies"],
)
def test_failed_builder_is_reported_with_its_end(text: str, reason: str, folder: Path) -> None:
    with pytest.raises(BundleError) as caught:
        asyncio.run(build_in_child(JOBS, stub(folder, text)))
    assert str(caught.value) == reason


def test_builder_on_this_machine_says_what_is_missing(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"^TensorRT is not installed: install server\[tensorrt\]"):
        asyncio.run(build_in_child(JOBS))


def test_builder_is_killed_when_the_call_is_cancelled(folder: Path) -> None:
    module = stub(folder, ENDLESS)

    async def run() -> int:
        waiting = asyncio.create_task(build_in_child(JOBS, module))
        number = await asyncio.to_thread(number_of, folder)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return number

    assert is_gone(asyncio.run(run()))


@pytest.mark.skipif(sys.platform != "linux", reason="no other system offers it")
def test_builder_ends_with_its_server(folder: Path) -> None:
    module = stub(folder, ENDLESS)
    text = (
        "import asyncio; from diptych.adapters.tensorrt.build import build_in_child; "
        f"asyncio.run(build_in_child([], {module!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", text]) as server:
        number = number_of(folder)
        server.send_signal(signal.SIGKILL)
    assert is_gone(number)
