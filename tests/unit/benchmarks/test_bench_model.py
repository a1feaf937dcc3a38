"""What the benchmark makes once is made again when its making was interrupted."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def in_cache(*parts: str) -> Path:
        place = tmp_path.joinpath(*parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    monkeypatch.setattr(model, "in_cache", in_cache)
    return tmp_path


def test_checkpoint_is_made_once_for_its_sources(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(_: str, folder: str, **__: Any) -> None:
        made.append(folder)
        Path(folder).mkdir(parents=True)

    monkeypatch.setattr(model, "ask", make)
    assert model.checkpoint("vit-s-32") == model.checkpoint("vit-s-32") == Path(made[0])
    monkeypatch.setattr(model, "_checkpoint_sources", lambda name: "others")
    model.checkpoint("vit-s-32")
    assert len(made) == 2


def test_interrupted_making_counts_as_missing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(_: str, folder: str, **__: Any) -> None:
        Path(folder).mkdir(parents=True)

    def begin(_: str, folder: str, **__: Any) -> None:
        make(_, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "ask", make)
    folder = model.checkpoint("vit-s-32")
    of_now = model._checkpoint_sources("vit-s-32")
    with monkeypatch.context() as other:
        other.setattr(model, "_checkpoint_sources", lambda name: "others")
        other.setattr(model, "ask", begin)
        with pytest.raises(KeyboardInterrupt):
            model.checkpoint("vit-s-32")
    assert folder.exists()
    assert model._is_stale(folder, of_now)
