"""What all tests of this folder share: no hub is asked, and no graph is exported twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.data.pictograms.lists import emoji_classes
from diptych_training.evaluate import validation
from support.exported_once import exported_once
from support.tiny_run import TINY_RESNET, write_shareable_dataset, write_tiny_run


@pytest.fixture(scope="session", autouse=True)
def _offline_and_exported_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, exported_once():
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def few_emoji() -> Iterator[None]:
    """A style is classified among 20 names, not 1,914: those take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "emoji_classes", lambda: emoji_classes()[:20])
        yield


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with `tiny/1`, which carries a proof set."""
    home = tmp_path_factory.mktemp("start")
    run = write_tiny_run(home / "runs" / "tiny", image=TINY_RESNET)
    data = write_shareable_dataset(home / "data")
    export = ["export", "--run", str(run), "--name", "tiny", "--data", str(data.path), "--no-optimise"]
    assert main([*export, "--model-repo", str(home / "repo")]) == 0
    return home / "repo"


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
