"""Files that are replaced at once, and what is named when a disk has no space."""

import errno
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from diptych_training.cli import main
from diptych_training.data.pairs.tools import inspect
from diptych_training.files import naming_full_disk, open_atomic, write_text


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may grow beyond 10 kB."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_that_finds_no_space_is_named(tmp_path: Path) -> None:
    with small_disk(), pytest.raises(OSError, match="File too large") as caught:
        write_text(tmp_path / "text", "x" * 50_000)
    assert caught.value.filename == str(tmp_path / "text")
    assert list(tmp_path.iterdir()) == []


def test_an_array_that_finds_no_space_is_named(tmp_path: Path) -> None:
    with small_disk(), pytest.raises(OSError) as caught, open_atomic(tmp_path / "a.npy") as file:
        np.save(file, np.zeros(50_000))
    assert caught.value.filename == str(tmp_path / "a.npy")


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError) as caught, naming_full_disk(tmp_path):
        raise TimeoutError(errno.ETIMEDOUT, "no answer")
    assert caught.value.filename is None
    with pytest.raises(OSError, match="No space") as full, naming_full_disk(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device", "inner")
    assert full.value.filename == "inner"


def test_the_command_line_prints_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> int:
        with naming_full_disk(tmp_path / "runs" / "mine"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(inspect, "run", run)
    assert main(["data", "inspect", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"diptych-train: {tmp_path}/runs/mine: No space left on device\n"
