"""Small data that many tests of training read and none changes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych_training.data.packed import PackedDataset
from diptych_training.data.pictograms.lists import emoji_classes
from diptych_training.evaluate import validation
from support.exported_once import exported_once
from support.small_streams import Make, opening, write_home
from support.tiny_run import write_tiny_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    """Drawings to learn from and to validate on."""
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), n_icons=12)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def pairs_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, and shards of pairs."""
    return write_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def make(pairs_home: Path) -> Iterator[Make]:
    """Opens batches of the pairs."""
    with opening(pairs_home) as make:
        yield make


@pytest.fixture(scope="module")
def few_emoji() -> Iterator[None]:
    """A style is classified among 20 names, not 1,914: those take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "emoji_classes", lambda: emoji_classes()[:20])
        yield


@pytest.fixture(scope="module")
def graphs_exported_once() -> Iterator[None]:
    """The exporter takes seconds even for a tiny tower."""
    with exported_once():
        yield
