"""Read sources of pairs in a test, and note what is opened for it."""

import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych_training.data.pairs.pair import Entry, Pair
from diptych_training.data.pairs.remote import urls
from diptych_training.data.pairs.sources.find import SourceReader


def read(*patterns: object, reader: SourceReader | None = None) -> list[Entry]:
    """All entries of these sources, in order."""
    shards = (reader or SourceReader()).shards([str(pattern) for pattern in patterns])
    return [entry for shard in shards for entry in shard.entries()]


def captions(entries: list[Entry]) -> list[str]:
    """The first text of each pair."""
    return [entry.texts.first for entry in entries if isinstance(entry, Pair)]


def things(n: int) -> list[str]:
    """The captions of the first `n` pairs of `pair_files`."""
    return [f"thing {number}" for number in range(n)]


def write_parquet(file: Path, columns: dict[str, list], group: int = 4) -> Path:
    """A Parquet file of these columns, in groups of as many rows."""
    pq.write_table(pa.table(columns), file, row_group_size=group)
    return file


def count_opens(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each path or URL is opened from now on."""
    opened: Counter[str] = Counter()
    original = urls.open_url
    for module in [module for module in sys.modules.values() if getattr(module, "open_url", 0) is original]:
        monkeypatch.setattr(
            module, "open_url", lambda url: (opened.update([Path(url).name]), original(url))[1]
        )
    return opened
