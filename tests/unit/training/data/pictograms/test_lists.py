from collections import Counter
from pathlib import Path

import pytest

from diptych_training.data.pictograms.lists import class_text, emoji_classes
from diptych_training.data.pictograms.emoji import EMOJI_FILES
from diptych_training.data.pictograms.lists import eval_items, package_versions, source_specs
from diptych_training.data.pictograms.sources import FOLDERS
from diptych_training.paths import cache_dir


def test_no_source_stands_on_two_sides() -> None:
    names = Counter(spec.name for spec in source_specs())
    assert max(names.values()) == 1


def test_split_has_the_announced_sources() -> None:
    counts = Counter((spec.split, spec.kind) for spec in source_specs())
    assert counts == {
        ("train", "emoji"): 5,
        ("train", "icons"): 117,
        ("validation", "emoji"): 1,
        ("validation", "icons"): 10,
        ("eval", "emoji"): 5,
        ("eval", "icons"): 32,
    }


def test_eval_lists_the_announced_items_and_each_once() -> None:
    totals: Counter[str] = Counter()
    for spec in source_specs("eval"):
        items = eval_items(spec.name)
        assert len(items) == spec.n_images
        assert len({item.name for item in items}) == len(items)
        totals[spec.kind] += len(items)
    assert totals == {"emoji": 4884, "icons": 17533}
    assert not any(eval_items(spec.name) for split in ("train", "validation") for spec in source_specs(split))


def test_every_eval_emoji_has_one_of_the_emoji_classes() -> None:
    classes = set(emoji_classes())
    assert len(classes) == len(emoji_classes()) == 1914
    labels = {i.label for spec in source_specs("eval") if spec.kind == "emoji" for i in eval_items(spec.name)}
    assert labels <= classes


def test_flags_are_written_as_emoji_flags_are() -> None:
    assert class_text("flag of Chile") == "flag: Chile"
    assert class_text("checkered flag") == "checkered flag"
    assert "flag: Chile" in {item.label for item in eval_items("circle-flags")}


def test_every_package_has_a_version_and_folders_and_every_style_its_files() -> None:
    assert set(FOLDERS) == set(package_versions())
    assert {spec.package for spec in source_specs()} <= set(FOLDERS)
    emoji = {spec.name for spec in source_specs() if spec.kind == "emoji" and spec.split != "eval"}
    assert set(EMOJI_FILES) == emoji


def test_cache_follows_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("DIPTYCH_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "diptych"
