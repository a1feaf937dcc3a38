"""Read the lists of art sources and their splits, and the classes of emoji styles."""

import csv
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, get_args

from diptych_training.data.packed import Kind, Split

_FLAG_OF = "flag of "


ICONS_PACKAGE = "@iconify/json"
NAMES_PACKAGE = "emojibase-data"
NAMES_CREDIT = (
    f"Names, keywords and groups of emoji are those of the npm package {NAMES_PACKAGE} (MIT), which has "
    "them from Unicode CLDR (Unicode License)."
)
KINDS: tuple[Kind, ...] = ("emoji", "icons")


def emoji_classes() -> list[str]:
    """The 1,914 classes of an emoji style: one label for each emoji, without skin tones."""
    return list(_read_classes())


def class_text(name: str) -> str:
    """A class as text for the model: "flag of X" is written "flag: X", which is how emoji are labelled."""
    return f"flag: {name.removeprefix(_FLAG_OF)}" if name.startswith(_FLAG_OF) else name


@cache
def _read_classes() -> tuple[str, ...]:
    text = files("diptych_training.data.pictograms").joinpath("lists", "emoji_classes.txt").read_text("utf-8")
    return tuple(text.splitlines())


@dataclass(frozen=True)
class SourceSpec:
    """One source as the lists name it: an emoji style or an icon set."""

    name: str
    split: Split
    kind: Kind
    package: str
    licence: str
    author: str
    n_images: int | None = None
    pixel_1nn_top1: float | None = None


@dataclass(frozen=True)
class EvalItem:
    """One image of an eval source: icon name, class, and whether training has a near duplicate."""

    name: str
    label: str
    near_train: bool


def package_versions() -> dict[str, str]:
    """Package name -> the version for which the lists were made."""
    return dict(_lists()["packages"])


def source_specs(split: Split | None = None) -> list[SourceSpec]:
    """Every source (of a split), emoji first, in the order of the lists."""
    lists = _lists()
    return [
        _spec(name, part, kind, entry)
        for kind in KINDS
        for part in get_args(Split)
        for name, entry in lists[kind][part].items()
        if split in (None, part)
    ]


def eval_items(source: str) -> list[EvalItem]:
    """The images of an eval source, in the order of the list; empty for any other source."""
    return list(_eval_items().get(source, ()))


def _spec(name: str, split: Split, kind: Kind, entry: dict[str, Any]) -> SourceSpec:
    return SourceSpec(
        name=name,
        split=split,
        kind=kind,
        package=entry.get("package", ICONS_PACKAGE),
        licence=entry["license"],
        author=entry["author"],
        n_images=entry.get("images", entry.get("concepts")),
        pixel_1nn_top1=entry.get("pixel_1nn_top1"),
    )


@cache
def _lists() -> dict[str, Any]:
    lists: dict[str, Any] = json.loads(_read("pictograms.json"))
    return lists


@cache
def _eval_items() -> dict[str, tuple[EvalItem, ...]]:
    rows = csv.DictReader(_read("eval_items.tsv").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    items: dict[str, list[EvalItem]] = {}
    for row in rows:
        item = EvalItem(row["item"], class_text(row["class"]), row["near_train"] == "1")
        items.setdefault(row["set"], []).append(item)
    return {source: tuple(of_source) for source, of_source in items.items()}


def _read(name: str) -> str:
    return files("diptych_training.data.pictograms").joinpath("lists", name).read_text("utf-8")
