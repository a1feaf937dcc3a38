"""Randomly damaged files end in pixels or an InputError, and leave other files unaffected."""

from pathlib import Path

import pytest

from support.hostile import fuzzing

N_FILES = 500


def test_damaged_files_end_in_pixels_or_in_an_input_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = tmp_path / "progress.json"
    assert fuzzing.main(["--n", f"{N_FILES // 2}", "--progress", str(progress)]) == 0
    assert fuzzing.main(["--n", f"{N_FILES}", "--progress", str(progress)]) == 0
    told = capsys.readouterr().out
    assert f"{N_FILES:,} files, 0 failures" in told
