import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diptych import failpoints
from diptych.durable import fsync_folder, write_durably
from diptych.errors import ConfigError

WRITE = """
import sys, pathlib
from diptych import failpoints
from diptych.durable import write_durably
failpoints.arm(sys.argv[2])
for n in range(5):
    write_durably(pathlib.Path(sys.argv[1]) / str(n), b"bytes")
"""


@pytest.mark.parametrize(
    "spec", ["commit", "commit.after", "commit.after:0", "commit.after:-1", "never.before:1"]
)
def test_spec_that_names_no_point_or_no_count_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"is not POINT:N, where POINT is one of file_fsync\.before, "):
        failpoints.arm(spec)


def test_unarmed_points_are_passed(tmp_path: Path) -> None:
    failpoints.arm(None)
    failpoints.arm("")
    assert failpoints.around("commit") is failpoints.around("answer")  # one object that does nothing
    write_durably(tmp_path / "file", b"bytes")
    fsync_folder(tmp_path)


@pytest.mark.parametrize(("side", "n"), [("before", 3), ("after", 3)])
def test_process_ends_when_it_reaches_the_point_for_the_nth_time(tmp_path: Path, side: str, n: int) -> None:
    spec = f"file_fsync.{side}:{n}"
    run = subprocess.run([sys.executable, "-c", WRITE, str(tmp_path), spec], env=os.environ, check=False)
    assert run.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
