"""Small packed data sets of random pictures with chosen labels, to judge models on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from diptych_training.data.packed import (
    Images,
    Kind,
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    content_of,
    read_dataset,
    write_index,
    write_source,
)

Source = tuple[Split, Kind, Sequence[str]]  # and the label of each picture


def write_pictures(
    path: Path, sources: Mapping[str, Source], *, size: int = 32, seed: int = 0
) -> PackedDataset:
    """Write random drawings of 4 x 4 blocks under the folder's name."""
    rng = np.random.default_rng(seed)
    entries = {}
    for name, (split, kind, labels) in sources.items():
        images = random_images(rng, len(labels), size)
        items = [PackedItem(id=f"{name}-{index}", label=label) for index, label in enumerate(labels)]
        write_source(path, split, name, images, items)
        entries[name] = SourceEntry(split, kind, len(items), "MIT", "nobody", content_of(images, items))
    write_index(PackedDataset(path, path.name, size, entries))
    return read_dataset(path)


def random_images(rng: np.random.Generator, n: int, size: int) -> Images:
    """(n, size, size, 3) uint8."""
    blocks = rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((1, size // 4, size // 4, 1), np.uint8))
