"""Write a person's pairs as a packed data set with a held-out part."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from diptych_training.data.packed import PackedDataset, SourceEntry, Split, write_index, write_source
from diptych_training.data.pairs.packing import packed_entry, source_name, write_card
from diptych_training.refresh.pairs.gather import Gathered

OWN = "own"  # the data set's name, and its folder
PACKED_BY = "diptych-train refresh"


def write_own(folder: Path, gathered: Gathered, held: Sequence[int], *, licence: str, author: str) -> None:
    """Replace the data set OWN in a folder: split `validation` of the pairs at `held`, `train` of the rest.

    Without held-out pairs there is no split `validation`.
    """
    own = folder / OWN
    shutil.rmtree(own, ignore_errors=True)
    out = set(held)
    trained = [index for index in range(len(gathered.items)) if index not in out]
    drops = {"unusable": sum(map(len, gathered.unusable.values())), "the same picture": len(gathered.same)}
    splits: dict[Split, Sequence[int]] = {"train": trained, "validation": held}
    entries: dict[str, SourceEntry] = {}
    for split, chosen in splits.items():
        if not chosen:
            continue
        images, items = gathered.images[list(chosen)], [gathered.items[index] for index in chosen]
        write_source(own, split, source_name(split), images, items)
        entries[source_name(split)] = packed_entry(
            split,
            images,
            items,
            drops=drops if split == "train" else {},
            licence=licence,
            author=author,
        )
    dataset = PackedDataset(own, OWN, gathered.images.shape[1], entries)
    write_card(dataset, PACKED_BY)
    write_index(dataset)
