"""The texts that the recall of an index is measured by: names that images have, and nouns that none has."""

import asyncio
import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import PurePath

from diptych.core.collections.metadata.reserved import FILE, file_path
from diptych.core.collections.stored.ports import Rows
from diptych.core.types import ImageRecord, Metadata

N_NAMES, N_NOUNS = 300, 200
N_LOOKED_AT = 4_000  # images whose names are read
AT_ONCE = 500
MAX_WORDS, MAX_CHARS = 8, 80  # of a name; longer texts are captions, whose words count
SEED = 1234
_WORD = re.compile(r"[^\W\d_]{2,}")


async def texts_of(rows: Rows, c: int) -> dict[str, list[str]]:
    """The names of images of a collection, filled up with nouns, and nouns that no image is called by."""
    keys = await rows.keys(c)
    looked_at = keys[:: max(1, len(keys) // N_LOOKED_AT)][:N_LOOKED_AT]
    records = list[ImageRecord]()
    for start in range(0, len(looked_at), AT_ONCE):
        records += (await rows.by_key(looked_at[start : start + AT_ONCE])).values()
    return await asyncio.to_thread(_chosen_for, records)


def chosen(found: Sequence[str], bank: Sequence[str]) -> dict[str, list[str]]:
    """The queries `names` and `nouns` for a collection whose images have the texts `found`."""
    order = random.Random(SEED)
    words = {word for text in found for word in _WORD.findall(text)}
    names = sorted({text for text in found if len(text) <= MAX_CHARS and text.count(" ") < MAX_WORDS})
    order.shuffle(names)
    shuffled = sorted(bank)
    order.shuffle(shuffled)
    absent = [text for text in shuffled if not words.intersection(_WORD.findall(text))]
    absent = absent or shuffled  # a collection that has all of them
    others = [text for text in shuffled if text not in {*absent[:N_NOUNS]}] or shuffled
    return {"names": [*names, *others][:N_NAMES], "nouns": absent[:N_NOUNS]}


def _chosen_for(records: Sequence[ImageRecord]) -> dict[str, list[str]]:
    found = dict.fromkeys(text for record in records for text in _texts(record))
    return chosen(list(found), nouns())


@cache
def nouns() -> list[str]:
    """The texts of the file `nouns.txt`."""
    lines = (files("diptych.core.collections.upkeep") / "nouns.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _texts(record: ImageRecord) -> Iterator[str]:
    """What an image is called: by its file, by its metadata, and by its id unless that is a checksum."""
    called = [PurePath(file_path(record.metadata) or "").stem, *_strings(record.metadata)]
    if not record.sha256.startswith(record.id):
        called.append(record.id)
    yield from filter(None, (" ".join(_WORD.findall(text.lower())) for text in called))


def _strings(metadata: Metadata) -> list[str]:
    return [value for name, value in metadata.items() if isinstance(value, str) and name != FILE]
