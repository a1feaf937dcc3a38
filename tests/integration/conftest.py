"""Fixtures that tests of the store share; those of one file are in it."""

from pathlib import Path

import pytest

from integration.store_parts import Run, stories
from support.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model_repo")
    write_tiny_bundle(root)
    return root


@pytest.fixture
def run(model_repo: Path, tmp_path: Path) -> Run:
    """Run a story over one data folder; the next one finds what the one before has left."""
    return stories(model_repo, tmp_path / "data")
