"""What a person is told of a long command, and where its pixels lie."""

import errno
from pathlib import Path

import numpy as np
import pytest

from diptych_training.export.pixel_file import PixelFile
from diptych_training.export.stages import Stages, Watcher, files_table, peak_memory_bytes


def test_each_finished_stage_is_one_line_and_one_row() -> None:
    said: list[str] = []
    stages = Stages(Watcher(said.append, said.append))

    with stages.stage("read"):
        pass
    with pytest.raises(ValueError, match="broken"), stages.stage("write"):
        raise ValueError("broken")

    assert len(said) == 1
    assert said[0].startswith("read: 0.0 s, peak memory ")
    assert [stage.name for stage in stages.finished] == ["read"]
    assert "| read " in stages.table()


def test_the_peak_of_a_stage_is_its_own() -> None:
    stages = Stages(Watcher(print, print))

    with stages.stage("large"):
        np.ones(300_000_000, np.uint8)
    with stages.stage("small"):
        pass

    large, small = stages.finished
    assert large.peak_bytes > 300_000_000
    assert peak_memory_bytes() > 0
    # Where the kernel does not let the peak be reset, it is that of all so far, which a page may raise.
    assert small.peak_bytes <= large.peak_bytes + 10_000_000


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


def test_pixels_without_room_are_an_error_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        PixelFile(tmp_path / "pixels.npy", 7, 4)
