"""Folders of a person's pairs, and a tiny model to prepare them for; loads no weights.

Picture number n is noise that no other number has; the tokenizer knows plain English words.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.manifest import ImageSpec
from diptych_training.data.packed import (
    PackedDataset,
    PackedItem,
    SourceEntry,
    read_dataset,
    write_index,
    write_source,
)
from diptych_training.importing.source_model import SourceModel
from diptych_training.train.tokenizer import train_tokenizer
from support.pair_files import write_files
from support.pictures import noise
from support.tiny_run import tiny_image_spec, tiny_text_spec

WORDS = ("a", "big", "small", "red", "green", "blue", "dog", "cat", "bird", "tree", "on", "the", "grass")
FAMILIAR = tuple(
    f"{size} {colour} {what}" for size in WORDS[1:3] for colour in WORDS[3:6] for what in WORDS[6:10]
)


def tiny_source_model(image: ImageSpec | None = None) -> SourceModel:
    """A model that states how pictures and captions are prepared for it, and has no weights."""
    specs = {"preprocess": image or tiny_image_spec(), "text": tiny_text_spec()}
    tables = {name: spec.model_dump(mode="json", exclude_none=True) for name, spec in specs.items()}
    return SourceModel("tiny/1", tables, _tokenizer(), weights=lambda config: {})


@cache
def _tokenizer():
    return train_tokenizer([" ".join(WORDS), *FAMILIAR] * 3, 620)


def captioned(captions: Iterable[str], start: int = 0) -> dict[str, bytes]:
    """The files of pictures with captions: `00000.png`, `00000.txt`, and so on."""
    files: dict[str, bytes] = {}
    for number, caption in enumerate(captions, start):
        files |= {f"{number:05}.png": noise(number), f"{number:05}.txt": caption.encode()}
    return files


def write_captioned(folder: Path, captions: Iterable[str]) -> Path:
    """A folder of pictures with captions."""
    return write_files(folder, captioned(captions))


def familiar(n: int) -> list[str]:
    """`n` captions of familiar words, the first 24 of them different."""
    return [FAMILIAR[index % len(FAMILIAR)] for index in range(n)]


def write_shipped(folder: Path, pictures: dict[str, bytes]) -> PackedDataset:
    """A packed data set whose validation part shows these pictures, by label."""
    used = tiny_image_spec()
    images = np.stack([load_pixels(one, used, ImageLimits()) for one in pictures.values()])
    items = [PackedItem(id=f"{index}", label=label) for index, label in enumerate(pictures)]
    write_source(folder, "validation", "shown", images, items)
    entry = SourceEntry("validation", "icons", len(items), licence="MIT", author="nobody", recipe="0" * 64)
    write_index(PackedDataset(folder, "shipped", used.size, {"shown": entry}))
    return read_dataset(folder)
