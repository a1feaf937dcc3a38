"""The packed data set: format, reader and writer.

    <path>/dataset.json             name, image size, and one entry a source; further texts, if there are any
    <path>/<split>/<source>.npy     uint8 (N, S, S, 3) RGB, memory-mapped when read
    <path>/<split>/<source>.jsonl   one item a line, in the order of the images

A source is listed in dataset.json only after both of its files are complete.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from diptych_training.errors import DataError
from diptych_training.files import open_atomic, write_text

SCHEMA_VERSION = 1
INDEX_FILE = "dataset.json"

Split = Literal["train", "validation", "eval"]
Kind = Literal["emoji", "icons", "pairs"]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class PackedItem:
    """The texts of one image.

    `label` is its class text; `keywords` may follow it in any order; `captions` are complete alternatives.
    `weight` is its share when sampling within the source. `near_train`: a training image shows nearly the
    same drawing of this concept.
    """

    id: str
    label: str
    keywords: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    weight: float = 1.0
    near_train: bool = False


@dataclass(frozen=True)
class SourceEntry:
    """A source's entry in dataset.json. `recipe` is a sha256 over everything that determines its files.

    `drops` counts the images that were dropped while building, by reason. `pixel_1nn_top1` is the top-1
    accuracy of the nearest training image by pixels: a floor for any model.
    """

    split: Split
    kind: Kind
    n: int
    licence: str
    author: str
    recipe: str
    pixel_1nn_top1: float | None = None
    drops: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PackedSource:
    """One art style or icon set: `images` (N, S, S, 3) uint8 RGB and the N `items` in the same order."""

    name: str
    entry: SourceEntry
    images: Images
    items: tuple[PackedItem, ...]

    @property
    def split(self) -> Split:
        """The split that the source belongs to."""
        return self.entry.split

    @property
    def kind(self) -> Kind:
        """Emoji, icons, or any image-text pairs."""
        return self.entry.kind

    @property
    def licence(self) -> str:
        """SPDX identifier of the art's licence."""
        return self.entry.licence

    @property
    def author(self) -> str:
        """Author to whom the art is attributed."""
        return self.entry.author

    @property
    def pixel_1nn_top1(self) -> float | None:
        """Top-1 accuracy of the nearest training image by pixels, where it was measured."""
        return self.entry.pixel_1nn_top1


@dataclass(frozen=True)
class PackedDataset:
    """A data set whose index has been read; sources are opened on request.

    `texts` describe none of the images: they add to the texts that an export is proven on.
    """

    path: Path
    name: str
    image_size: int
    entries: Mapping[str, SourceEntry]
    texts: tuple[str, ...] = ()

    def listed(self, split: Split | str, kind: Kind | None = None) -> list[tuple[str, SourceEntry]]:
        """Index entries of a split's sources (of one kind), sorted by name; opens no file."""
        if split not in get_args(Split):
            raise DataError(f"split is {split!r}, not one of {', '.join(get_args(Split))}")
        return [
            (name, entry)
            for name, entry in sorted(self.entries.items())
            if entry.split == split and kind in (None, entry.kind)
        ]

    def sources(self, split: Split | str, kind: Kind | None = None) -> list[PackedSource]:
        """Open the sources of a split (of one kind), by name. DataError if a file contradicts the index."""
        return [self.source(name) for name, _ in self.listed(split, kind)]

    def source(self, name: str) -> PackedSource:
        """Open one source. DataError if a file contradicts the index."""
        entry = self.entries[name]
        stem = self.path / entry.split / name
        images = _read_images(stem.with_name(f"{name}.npy"), (entry.n, *[self.image_size] * 2, 3))
        items = _read_items(stem.with_name(f"{name}.jsonl"))
        if len(items) != entry.n:
            raise DataError(f"{stem}.jsonl has {len(items)} items, {INDEX_FILE} says {entry.n}")
        return PackedSource(name, entry, images, items)

    def digest(self, split: Split | str) -> str:
        """sha256 over the files of a split, independent of the data set's name and path."""
        digest = sha256()
        for name, _ in self.listed(split):
            for suffix in (".npy", ".jsonl"):
                with (self.path / split / f"{name}{suffix}").open("rb") as file:
                    digest.update(file_digest(file, "sha256").digest())
        return digest.hexdigest()


def read_dataset(path: Path) -> PackedDataset:
    """Read the index of a packed data set. DataError if it is missing, malformed or of another schema."""
    index_file = path / INDEX_FILE
    try:
        index = json.loads(index_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"no data set in {path}: {INDEX_FILE} is missing; `diptych-train data pictograms` builds one, "
            "`diptych-train data pack` packs your own pairs"
        ) from None
    except ValueError as error:
        raise DataError(f"{index_file} is not JSON: {error}") from None
    version = index.get("schema_version") if isinstance(index, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(f"{index_file} has schema_version {version!r}, this reader knows {SCHEMA_VERSION}")
    try:
        entries = {name: SourceEntry(**entry) for name, entry in index["sources"].items()}
        texts = tuple(str(text) for text in index.get("texts", ()))
        return PackedDataset(path, index["name"], index["image_size"], entries, texts)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{index_file} is malformed: {error}") from None


def write_index(dataset: PackedDataset) -> None:
    """Write dataset.json atomically."""
    index = {
        "schema_version": SCHEMA_VERSION,
        "name": dataset.name,
        "image_size": dataset.image_size,
        "sources": {name: asdict(entry) for name, entry in sorted(dataset.entries.items())},
        **({"texts": dataset.texts} if dataset.texts else {}),
    }
    write_text(dataset.path / INDEX_FILE, json.dumps(index, indent=1, ensure_ascii=False) + "\n")


def content_of(images: Images, items: list[PackedItem]) -> str:
    """sha256 over the pixels and items of a source."""
    digest = sha256(repr((images.shape, items)).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def write_source(path: Path, split: Split, name: str, images: Images, items: list[PackedItem]) -> None:
    """Write the two files of a source; its entry in dataset.json is the caller's next step."""
    assert len(images) == len(items)
    with open_atomic(path / split / f"{name}.npy") as file:
        np.save(file, images, allow_pickle=False)
    lines = (json.dumps(asdict(item), ensure_ascii=False) for item in items)
    write_text(path / split / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))


def _read_images(file: Path, shape: tuple[int, ...]) -> Images:
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{file} is missing: build the data set again") from None
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{file} is not a readable array: {error}") from None
    if images.shape != shape or images.dtype != np.uint8:
        raise DataError(f"{file} holds {images.dtype} {images.shape}, {INDEX_FILE} says uint8 {shape}")
    return cast(Images, images)


def _read_items(file: Path) -> tuple[PackedItem, ...]:
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise DataError(f"{file} is missing: build the data set again") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: {error}") from None
    items = []
    for number, line in enumerate(lines, 1):
        try:
            items.append(_item(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{file} line {number} is not an item: {error}") from None
    return tuple(items)


def _item(row: dict[str, Any]) -> PackedItem:
    lists = {key: tuple(row[key]) for key in ("keywords", "captions")}
    return PackedItem(**{**row, **lists})


def hash_fraction(text: str) -> float:
    """A hash of the text as a number in [0, 1), for splits that do not depend on the rest of the data."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
