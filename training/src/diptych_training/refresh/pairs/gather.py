"""Read pairs from their sources: decode each picture as the model sees it, merge equal pictures."""

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256

import numpy as np

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.preprocess import ImageLimits
from diptych.bundle.manifest import ImageSpec
from diptych_training.data.packed import Images, PackedItem, hash_fraction
from diptych_training.data.pairs.image_files import map_in_threads
from diptych_training.data.pairs.packing import packed_item, prepared_pixels
from diptych_training.data.pairs.pair import Entry, Origin, Pair, Shard, Unusable, reason_category
from diptych_training.errors import DataError
from diptych_training.progress import progress_bar
from diptych_training.refresh.pairs.captions import CaptionTokens, texts_of_item
from diptych_training.refresh.pairs.hold_out import names_in_sources


@dataclass
class Gathered:
    """Usable pairs: `images` (N, S, S, 3) uint8 RGB and their N items, and what happened to the others.

    `origins` says where the texts of each come from. `unusable` has entries by category of their reason;
    `same` and `merged` name pictures that equal an earlier one, without and with a caption that it lacked.
    """

    images: Images
    items: list[PackedItem] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    unusable: dict[str, list[Unusable]] = field(default_factory=lambda: defaultdict(list))
    same: list[str] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only the pairs at these positions, in this order."""
        self.images = self.images[list(indices)]
        self.items = [self.items[index] for index in indices]
        self.origins = [self.origins[index] for index in indices]


@dataclass(frozen=True)
class Listed:
    """Names of entries with a caption, in order, and the numbers of entries found and excluded.

    `prefixes` are those of the sources.
    """

    names: tuple[str, ...]
    prefixes: tuple[str, ...]
    n_found: int
    n_excluded: int

    def left_out(self, limit: int, seed: int) -> frozenset[str]:
        """Names beyond `limit`, drawn by a hash of the name: more pictures change few of those drawn."""
        distinct = [*dict.fromkeys(self.names)]
        in_sources = names_in_sources(map(printable, distinct), map(printable, self.prefixes))
        hashes = (hash_fraction(f"draw {seed} {name}") for name in in_sources)
        by_hash = sorted(zip(hashes, distinct, strict=True))
        return frozenset(name for _, name in by_hash[limit:])


def list_entries(shards: Sequence[Shard], excluded: Set[str]) -> Listed:
    """Count and name all entries without reading pictures."""
    names, n_found, n_excluded = [], 0, 0
    for shard in shards:
        for entry in shard.entries(with_images=False, excluded=excluded):
            if entry.name in excluded:
                n_excluded += 1
                continue
            n_found += 1
            if isinstance(entry, Pair):
                names.append(entry.name)
    prefixes = tuple(dict.fromkeys(shard.prefix for shard in shards))
    return Listed(tuple(names), prefixes, n_found, n_excluded)


def gather(
    shards: Sequence[Shard],
    left_out: Set[str],
    n_at_most: int,
    *,
    spec: ImageSpec,
    limits: ImageLimits,
    tokens: CaptionTokens,
    n_threads: int,
) -> Gathered:
    """Read all entries but those `left_out`; DataError if more than `n_at_most` of them are pairs."""
    gathered = Gathered(np.empty((n_at_most, spec.size, spec.size, 3), np.uint8))
    position: dict[bytes, int] = {}  # of the first item with these pixels
    prepare = partial(_prepared, spec=spec, limits=limits, tokens=tokens)
    with progress_bar(desc="pairs", total=n_at_most, unit="pair") as bar:
        for entry, made in map_in_threads(_entries(shards, left_out), prepare, n_threads):
            if isinstance(made, str):
                gathered.unusable[reason_category(made)].append(Unusable(printable(entry.name), made))
                continue
            bar.update()
            item, pixels, origin = made
            index = position.setdefault(_digest(pixels), len(gathered.items))
            if index == n_at_most:
                raise DataError(f"{entry.name} appeared while pairs were read: start again")
            if index == len(gathered.items):
                gathered.images[index] = pixels
                gathered.items.append(item)
                gathered.origins.append(origin)
            else:
                _merge(gathered, index, item, tokens)
    gathered.images = gathered.images[: len(gathered.items)]
    return gathered


def printable(name: str) -> str:
    """A name that can be written as UTF-8: names of files need not be."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _entries(shards: Sequence[Shard], left_out: Set[str]) -> Iterator[Entry]:
    for shard in shards:
        for entry in shard.entries(excluded=left_out):
            if entry.name not in left_out:
                yield entry


def _prepared(
    entry: Entry, spec: ImageSpec, limits: ImageLimits, tokens: CaptionTokens
) -> tuple[PackedItem, Pixels, Origin] | str:
    """Item, pixels and origin of a pair, or the reason why it cannot be used."""
    if isinstance(entry, Unusable):
        return entry.reason
    try:
        item = _with_distinct_captions(packed_item(entry), tokens)
    except ValueError as error:
        return str(error)
    pixels = prepared_pixels(entry, spec, limits)
    return pixels if isinstance(pixels, str) else (item, pixels, entry.texts.origin)


def _with_distinct_captions(item: PackedItem, tokens: CaptionTokens) -> PackedItem:
    """The item without captions that have no tokens or repeat others. ValueError if none is left."""
    first_with = {tokens(text).ids: text for text in reversed([*texts_of_item(item)])}
    texts = [
        text for text in texts_of_item(item) if tokens(text).ids and first_with[tokens(text).ids] == text
    ]
    if not texts:
        raise ValueError("cleaning leaves nothing of its caption")
    label, *further = dict.fromkeys(texts)
    return replace(item, id=printable(item.id), label=label, captions=tuple(further))


def _merge(gathered: Gathered, index: int, other: PackedItem, tokens: CaptionTokens) -> None:
    """Add to an item the captions that another pair of the same pixels has in addition to its own."""
    item = gathered.items[index]
    known = {tokens(text).ids for text in texts_of_item(item)}
    new = tuple(text for text in texts_of_item(other) if tokens(text).ids not in known)
    keywords = tuple(dict.fromkeys((*item.keywords, *other.keywords)))
    gathered.items[index] = replace(item, captions=(*item.captions, *new), keywords=keywords)
    (gathered.merged if new else gathered.same).append(other.id)


def _digest(pixels: Pixels) -> bytes:
    return sha256(np.ascontiguousarray(pixels).data).digest()
