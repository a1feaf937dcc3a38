"""Index of the shards in a folder, with counts and digests."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diptych_training.data.pairs.pair import MAX_TEXT_BYTES
from diptych_training.data.pairs.remote.urls import join, read_url
from diptych_training.errors import DataError
from diptych_training.files import write_text

SHARD_INDEX_FILE = "shards.json"
SCHEMA_VERSION = 1
MAX_INDEX_BYTES = 1000 * MAX_TEXT_BYTES


@dataclass(frozen=True)
class ShardEntry:
    """A complete shard. `position` is where its sources were read to, so that the next shard can continue."""

    file: str
    n_pairs: int
    n_bytes: int
    sha256: str
    position: list[int]
    skipped: dict[str, int] = field(default_factory=dict)  # number of unusable entries, by reason


@dataclass(frozen=True)
class ShardIndex:
    """All shards so far of one recipe (a sha256 over everything that determines them)."""

    recipe: str
    made_from: dict[str, Any]
    shards: tuple[ShardEntry, ...] = ()
    is_complete: bool = False
    skipped_at_end: dict[str, int] = field(default_factory=dict)  # after the last shard, by reason

    @property
    def n_pairs(self) -> int:
        """Pairs in all shards."""
        return sum(shard.n_pairs for shard in self.shards)

    @property
    def n_skipped(self) -> int:
        """Entries of the sources that could not be used."""
        in_shards = sum(sum(shard.skipped.values()) for shard in self.shards)
        return in_shards + sum(self.skipped_at_end.values())

    @property
    def n_bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.n_bytes for shard in self.shards)


def read_shard_index(folder: str) -> ShardIndex:
    """Read the index of a folder or URL. DataError if it is missing, malformed or of another schema."""
    url = join(folder, SHARD_INDEX_FILE)
    try:
        index = json.loads(read_url(url, MAX_INDEX_BYTES))
        if index["schema_version"] != SCHEMA_VERSION:
            raise DataError(
                f"{url} has schema_version {index['schema_version']!r}, this reader knows {SCHEMA_VERSION}"
            )
        shards = tuple(ShardEntry(**shard) for shard in index["shards"])
        at_end = index.get("skipped_at_end", {})
        return ShardIndex(index["recipe"], index["made_from"], shards, index["is_complete"], at_end)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{url} is malformed: {error}") from None


def write_shard_index(folder: Path, index: ShardIndex) -> None:
    """Write the index atomically."""
    listed = {"schema_version": SCHEMA_VERSION, "n_pairs": index.n_pairs, **asdict(index)}
    write_text(folder / SHARD_INDEX_FILE, json.dumps(listed, indent=1, ensure_ascii=False) + "\n")


def indexed_files(folder: str) -> list[str]:
    """Paths or URLs of the shards in a folder. DataError if the folder is incomplete."""
    index = read_shard_index(folder)
    if not index.is_complete:
        raise DataError(
            f"{folder} holds {len(index.shards)} shards of a run that was stopped: "
            "run the same `diptych-train data shards` again to continue it"
        )
    return [join(folder, shard.file) for shard in index.shards]
