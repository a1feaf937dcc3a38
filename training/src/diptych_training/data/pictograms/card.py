"""Write the data card: content, authors and limits of the data set."""

from collections import Counter
from importlib.resources import files
from typing import get_args

from diptych_training.data.packed import Kind, PackedDataset, SourceEntry, Split
from diptych_training.data.pictograms.lists import NAMES_CREDIT, package_versions
from diptych_training.files import write_text

CARD_FILE = "CARD.md"

TEMPLATE = "card.md"

_PURPOSES: dict[Split, str] = {
    "train": "learning",
    "validation": "every choice: architecture, augmentation, schedule, prompts, stopping",
    "eval": "final tables only",
}


def write_card(dataset: PackedDataset) -> None:
    """Write CARD.md next to the data set's index."""
    write_text(dataset.path / CARD_FILE, card_text(dataset))


def card_text(dataset: PackedDataset) -> str:
    """The card in Markdown."""
    entries = list(dataset.entries.values())
    held_out = [item for source in dataset.sources("eval") for item in source.items]
    template = files("diptych_training.data.pictograms").joinpath("lists", TEMPLATE).read_text("utf-8")
    text = template.format(
        n_images=sum(entry.n for entry in entries),
        size=dataset.image_size,
        packages=", ".join(f"{package} {version}" for package, version in package_versions().items()),
        names=NAMES_CREDIT,
        counts="\n".join(_counts_row(entries, split) for split in get_args(Split)),
        drops=_drops(entries),
        n_near=sum(item.near_train for item in held_out),
        n_eval=len(held_out),
    )
    return text + "".join(_sources_table(dataset, split) for split in get_args(Split))


def _counts_row(entries: list[SourceEntry], split: Split) -> str:
    cells = []
    for kind in get_args(Kind):
        of_kind = [entry for entry in entries if (entry.split, entry.kind) == (split, kind)]
        cells.append(f"{sum(entry.n for entry in of_kind):,} in {len(of_kind)}")
    return f"| {split} | {cells[0]} | {cells[1]} | {_PURPOSES[split]} |"


def _drops(entries: list[SourceEntry]) -> str:
    drops: Counter[str] = Counter()
    for entry in entries:
        drops.update(entry.drops)
    return ", ".join(f"{n:,} {reason}" for reason, n in sorted(drops.items())) or "nothing"


def _sources_table(dataset: PackedDataset, split: Split) -> str:
    rows = [
        f"| {name} | {entry.kind} | {entry.n:,} | {entry.author} | {entry.licence} |"
        for name, entry in sorted(dataset.entries.items(), key=lambda pair: (pair[1].kind, pair[0]))
        if entry.split == split
    ]
    heading = f"\n### {split}\n\n| source | kind | images | author | licence |\n|---|---|---|---|---|\n"
    return heading + "\n".join(rows) + "\n" if rows else ""
