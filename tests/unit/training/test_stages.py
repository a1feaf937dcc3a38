"""What a person is told of a long command, and where its pixels lie."""

import errno
import os
import signal
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from diptych_training.importing.proof import PixelFile
from diptych_training.stages import (
    ProgressReporter,
    Stages,
    files_table,
    report_progress,
    sigterm_as_interrupt,
)


def test_each_finished_stage_is_one_line_and_one_row() -> None:
    said: list[str] = []
    stages = Stages(ProgressReporter(said.append, said.append))

    with stages.stage("read"):
        pass
    with pytest.raises(ValueError, match="broken"), stages.stage("write"):
        raise ValueError("broken")

    assert len(said) == 1
    assert said[0].startswith("read: 0.0 s, peak memory so far ")
    assert "| read " in stages.table()
    assert "write" not in stages.table()


def test_files_are_listed_with_their_size(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(bytes(1_500_000))

    assert "| graph.onnx | 1.50 |" in files_table(tmp_path)


def test_pixels_in_a_file_are_read_by_slice_and_by_number(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
    stored = PixelFile(tmp_path / "pixels.npy", 7, 4)
    stored.write(0, images[:4])
    stored.write(4, images[4:])

    assert len(stored) == 7
    assert np.array_equal(stored[2:5], images[2:5])
    assert np.array_equal(stored[np.array([6, 0])], images[[6, 0]])
    stored.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        PixelFile(tmp_path / "pixels.npy", 7, 4)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def swallow_ctrl_c() -> None:
    """As a library does that is interrupted where it cannot let an exception through."""
    try:
        press_ctrl_c()
        threading.Event().wait(5)  # a signal is handled between two steps of Python
    except KeyboardInterrupt:
        return


def test_ctrl_c_interrupts_at_once_and_the_former_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), report_progress(10, "test"):
        press_ctrl_c()
        threading.Event().wait(5)

    assert signal.getsignal(signal.SIGINT) is before


def test_no_bar_is_shown_before_something_is_embedded(capsys: pytest.CaptureFixture[str]) -> None:
    with report_progress(10, "test") as reporter, Stages(reporter).stage("find"):
        assert capsys.readouterr().err == ""
        reporter.advance(10)
    assert "test: 10/10 images" in capsys.readouterr().err


def test_swallowed_ctrl_c_ends_the_stage_it_was_pressed_in() -> None:
    with report_progress(10, "test") as reporter:
        stages = Stages(reporter)
        with pytest.raises(KeyboardInterrupt), stages.stage("embed"):
            swallow_ctrl_c()

    assert "embed" not in stages.table()


def test_swallowed_ctrl_c_ends_at_the_next_progress() -> None:
    with report_progress(10, "test") as reporter:
        reporter.advance(1)
        swallow_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            reporter.advance(1)


def test_an_error_caused_by_ctrl_c_is_raised_as_an_interrupt() -> None:
    def broken() -> None:
        swallow_ctrl_c()
        raise RuntimeError("a callback failed")

    with (
        report_progress(10, "test") as reporter,
        pytest.raises(KeyboardInterrupt),
        Stages(reporter).stage("embed"),
    ):
        broken()


def test_sigterm_interrupts_as_ctrl_c_does_also_below_a_progress_bar() -> None:
    before = signal.getsignal(signal.SIGTERM)

    for bar in (nullcontext(), report_progress(10, "test")):
        with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt(), bar:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)

    assert signal.getsignal(signal.SIGTERM) is before
