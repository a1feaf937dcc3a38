"""The sample gallery: drawn from a listed style, complete, and with its names and makers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych_training.data.pictograms import gallery
from diptych_training.data.pictograms.lists import EvalItem, source_specs
from diptych_training.errors import DataError

SQUARE = '<path fill="#f00" d="M4 4h8v8H4z"/>'
COMMITTED = Path(__file__).parents[5] / "server" / "gallery"


def write_set(folder: Path, *names: str) -> Path:
    file = folder / "fxemoji.json"
    icons = {name: {"body": SQUARE} for name in names}
    info = {"name": "Some Emoji", "author": {"name": "Somebody", "url": "https://example.org"}}
    file.write_text(
        json.dumps({"prefix": "fxemoji", "info": info, "icons": icons, "width": 16, "height": 16})
    )
    return file


@pytest.fixture
def two_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [EvalItem("b", "second thing", near_train=False), EvalItem("a", "first thing", near_train=True)]
    monkeypatch.setattr(gallery, "eval_items", lambda source: listed)


@pytest.mark.usefixtures("two_listed")
def test_every_listed_image_is_drawn_and_named(tmp_path: Path) -> None:
    spec = replace(next(spec for spec in source_specs("eval") if spec.name == "fxemoji"), n_images=2)
    n_images, n_bytes = gallery.write_gallery(
        spec, write_set(tmp_path, "a", "b", "unlisted"), tmp_path / "out"
    )
    items = [json.loads(line) for line in (tmp_path / "out" / "items.jsonl").read_text().splitlines()]
    assert [(item["id"], item["metadata"]["name"]) for item in items] == [
        ("a", "first thing"),
        ("b", "second thing"),
    ]
    assert items[0]["metadata"]["licence"] == "Apache-2.0"
    assert n_images == 2
    assert n_bytes == sum((tmp_path / "out" / item["file"]).stat().st_size for item in items)
    assert "Mozilla" in (tmp_path / "out" / "ATTRIBUTION.md").read_text()
    pixels = np.asarray(Image.open(tmp_path / "out" / "a.png").convert("RGB"))
    assert pixels.shape == (128, 128, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[64, 64].tolist() == [255, 0, 0]


@pytest.mark.usefixtures("two_listed")
def test_missing_drawing_is_named(tmp_path: Path) -> None:
    spec = replace(next(spec for spec in source_specs("eval") if spec.name == "fxemoji"), n_images=2)
    with pytest.raises(DataError, match="b"):
        gallery.write_gallery(spec, write_set(tmp_path, "a"), tmp_path / "out")


def test_committed_gallery_is_complete_and_small() -> None:
    items = [
        json.loads(line) for line in (COMMITTED / "items.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(items) == 642
    assert {item["file"] for item in items} == {path.name for path in COMMITTED.glob("*.png")}
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 3_000_000
