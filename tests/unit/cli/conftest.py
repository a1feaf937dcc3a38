"""Fixtures of the tests of the command line."""

from pathlib import Path

import pytest


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    """A file that a command can send as an image."""
    (tmp_path / "cat.png").write_bytes(b"pixels")
    return tmp_path / "cat.png"
