"""Read a packed data set as image-text pairs."""

import io
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from diptych_training.data.packed import Images, PackedItem, PackedSource, read_dataset
from diptych_training.data.pairs.pair import Entry, Pair, Shard, Unusable, require_shards, texts_of

ITEMS_PER_SHARD = 100


@dataclass(frozen=True)
class PackedShard:
    """Some consecutive items of one source of a packed data set."""

    path: Path
    prefix: str
    split: str
    source: str
    first: int
    n: int

    @property
    def location(self) -> str:
        """The data set's folder."""
        return str(self.path)

    @property
    def files(self) -> tuple[str, ...]:
        """Images and items of its source."""
        stem = self.path / self.split / self.source
        return f"{stem}.npy", f"{stem}.jsonl"

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """One entry per item, its image as PNG. DataError if a file contradicts the index."""
        source = _source(self.path, self.source)
        for index in range(self.first + start, self.first + self.n, step):
            pixels = np.asarray(source.images[index]) if with_images else None
            yield self._entry(source.items[index], pixels)

    def _entry(self, item: PackedItem, pixels: Images | None) -> Entry:
        name = f"{self.prefix}:{self.source}:{item.id}"
        try:
            texts = texts_of(item.captions, item.label, item.keywords, origin="packed data sets")
        except ValueError as error:
            return Unusable(name, str(error))
        png = io.BytesIO()
        if pixels is not None:
            Image.fromarray(pixels).save(png, "PNG", compress_level=1)
        return Pair(name, png.getvalue(), texts)


def packed_shards(path: Path, prefix: str, split: str = "train") -> list[Shard]:
    """Shards of the items of a split, source by source."""
    shards: list[Shard] = [
        PackedShard(path, prefix, split, name, first, min(ITEMS_PER_SHARD, entry.n - first))
        for name, entry in read_dataset(path).listed(split)
        for first in range(0, entry.n, ITEMS_PER_SHARD)
    ]
    return require_shards(shards, f"{path}, split {split},")


@lru_cache(maxsize=2)  # the shards of a source are read one after the other
def _source(path: Path, name: str) -> PackedSource:
    return read_dataset(path).source(name)
