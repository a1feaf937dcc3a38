from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from diptych_training.data.packed import PackedItem, read_dataset
from diptych_training.data.pictograms import pool as pool_module
from diptych_training.data.pictograms.build import Builder
from diptych_training.data.pictograms.card import card_text
from diptych_training.data.pictograms.contact_sheet import write_contact_sheets
from diptych_training.data.pictograms.lists import SourceSpec
from diptych_training.data.pictograms.pool import RenderPool
from diptych_training.data.pictograms.render import Drawing
from support.fragile_renderer import KILLS, RAISES, render_or_die


def spec(name: str, **more: object) -> SourceSpec:
    return replace(SourceSpec(name, "train", "icons", "@iconify/json", "MIT", "Somebody"), **more)  # type: ignore[arg-type]


def drawing(name: str, body: str = '<path d="M0 0h4v4H0z"/>') -> Drawing:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">{body}</svg>'
    return Drawing(PackedItem(name, name), svg.encode())


class FakeSources:
    """Two squares, a blank and a broken drawing for each source; counts what it was asked for."""

    def __init__(self, dies_at: str | None = None) -> None:
        self.asked: list[str] = []
        self._dies_at = dies_at

    def drawings(self, spec: SourceSpec) -> list[Drawing]:
        self.asked.append(spec.name)
        if spec.name == self._dies_at:
            raise KeyboardInterrupt
        return [drawing("square"), drawing("blank", ""), drawing("broken", "<"), drawing("again")]


def test_failed_and_blank_drawings_are_dropped_and_counted(tmp_path: Path) -> None:
    Builder(tmp_path, FakeSources(), 1).build([spec("one")])
    (source,) = read_dataset(tmp_path).sources("train")
    assert [item.id for item in source.items] == ["square", "again"]
    assert source.images.shape == (2, 64, 64, 3)
    assert dict(source.entry.drops) == {"blank": 1, "failed": 1}


def test_stopped_build_goes_on_where_it_was(tmp_path: Path) -> None:
    wanted = [spec("one"), spec("two", split="validation")]
    with pytest.raises(KeyboardInterrupt):
        Builder(tmp_path, FakeSources(dies_at="two"), 1).build(wanted)
    sources = FakeSources()
    dataset = Builder(tmp_path, sources, 1).build(wanted)
    assert sources.asked == ["two"]
    assert sorted(dataset.entries) == ["one", "two"]


def test_renderer_that_dies_costs_only_its_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "CHUNK", 4)
    payloads = [b"fine"] * 5 + [KILLS, RAISES] + [b"fine"] * 3
    advanced: list[int] = []
    with RenderPool(4, 1, render_or_die) as pool:
        outcomes = pool.render([Drawing(PackedItem("x", "x"), p) for p in payloads], advanced.append)
    assert [o if isinstance(o, str) else "drawn" for o in outcomes] == [
        *["drawn"] * 5,
        *["failed"] * 2,
        *["drawn"] * 3,
    ]
    assert sum(advanced) == len(payloads)


@contextmanager
def built(folder: Path) -> Iterator[str]:
    wanted = [spec("one"), spec("style", split="validation", kind="emoji", licence="CC-BY-4.0")]
    dataset = Builder(folder, FakeSources(), 1).build(wanted)
    write_contact_sheets(dataset)
    yield card_text(dataset)


def test_card_names_every_source_with_licence_and_author(tmp_path: Path) -> None:
    with built(tmp_path) as card:
        assert "| train | 0 in 0 | 2 in 1 | learning |" in card
        assert "| style | emoji | 2 | Somebody | CC-BY-4.0 |" in card
        assert "2 blank, 2 failed" in card
        assert "emojibase-data (MIT), which has them from Unicode CLDR (Unicode License)." in card
