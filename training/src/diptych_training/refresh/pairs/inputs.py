"""Recognise inputs that have been looked at before, without reading the pictures again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from diptych_training.data.packed import PackedDataset
from diptych_training.data.pairs.excluded import digest_of
from diptych_training.data.pairs.pair import Shard
from diptych_training.data.pairs.remote.retry import is_local
from diptych_training.data.pairs.remote.urls import join
from diptych_training.data.pairs.sources.changes import fingerprints
from diptych_training.data.pairs.sources.json_lines import JsonLinesShard
from diptych_training.data.pairs.sources.parquet import ParquetShard
from diptych_training.data.pairs.sources.table import TableShard
from diptych_training.importing.source_model import SourceModel

FORMAT = 4  # raise it when the same inputs give another data set or report


def inputs_digest(
    options: Mapping[str, object],
    shards: Sequence[Shard],
    *,
    excluded: frozenset[str],
    model: SourceModel,
    shipped: PackedDataset | None,
) -> str:
    """sha256 of everything that decides the result.

    Files count by size and modification time, local pictures that a table names too. Remote pictures that a
    table names do not count.
    """
    digest = sha256()
    stated = {
        "format": FORMAT,
        "options": dict(options),
        "preprocess": model.tables["preprocess"],
        "text": model.tables["text"],
        "excluded": digest_of(excluded),
        "judged": None if shipped is None else shipped.digest("validation"),
        "files": fingerprints(shards),
    }
    digest.update(json.dumps(stated, sort_keys=True).encode("utf-8", "surrogateescape"))
    digest.update(model.tokenizer.to_str().encode())
    for file in _named_pictures(shards):
        digest.update(f"{file} {_state(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _named_pictures(shards: Sequence[Shard]) -> Iterator[str]:
    """The local pictures that tables name; empty for sources that hold their pictures."""
    for shard in shards:
        if isinstance(shard, TableShard):
            root = shard.table.images_root
        elif isinstance(shard, ParquetShard | JsonLinesShard):
            root = shard.images_root
        else:
            continue
        for entry in shard.entries(with_images=False):
            file = join(root, entry.name.removeprefix(f"{shard.prefix}:"))
            if is_local(file):
                yield file


def _state(file: str) -> str:
    try:
        found = Path(file).stat()
    except (OSError, ValueError):
        return "none"
    return f"{found.st_size} {found.st_mtime_ns}"
