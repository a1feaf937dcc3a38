"""Recognise the format of a source, and split it into shards."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from diptych.bundle.image.preprocess import ImageLimits
from diptych_training.data.packed import INDEX_FILE
from diptych_training.data.pairs.pair import CAPTION_KEY, Shard
from diptych_training.data.pairs.remote.retry import is_local
from diptych_training.data.pairs.remote.urls import (
    exists,
    find,
    is_folder,
    join,
    name_of,
    open_url,
    without_query,
)
from diptych_training.data.pairs.sources.folder import folder_shards
from diptych_training.data.pairs.sources.json_lines import json_lines_shards
from diptych_training.data.pairs.sources.packed_shard import packed_shards
from diptych_training.data.pairs.sources.parquet import parquet_shards
from diptych_training.data.pairs.sources.shard_index import SHARD_INDEX_FILE, indexed_files
from diptych_training.data.pairs.sources.table import Columns, table_shards
from diptych_training.data.pairs.sources.tar_shard import TAR_ENDINGS, TarShard
from diptych_training.errors import DataError

TABLE_ENDINGS = (".csv", ".tsv")
PARQUET_ENDING = ".parquet"
JSON_LINES_ENDINGS = (".jsonl", ".ndjson")
ROW_ENDINGS = (*TABLE_ENDINGS, *JSON_LINES_ENDINGS, PARQUET_ENDING)
FILE_ENDINGS = (*TAR_ENDINGS, *ROW_ENDINGS)
ARCHIVE_ENDINGS = (".zip", ".7z", ".rar")
KINDS = "a .tar (also .gz, .bz2, .xz, .zst), .csv, .tsv, .jsonl or .parquet file, or a folder"


class SourceReader:
    """Opens sources of every format, with the settings that formats need."""

    def __init__(
        self,
        columns: Columns = Columns(),  # noqa: B008  frozen
        images_root: str | None = None,
        caption_key: str = CAPTION_KEY,
        limits: ImageLimits = ImageLimits(),  # noqa: B008  frozen
        packed_split: str = "train",
    ) -> None:
        self._columns = columns
        self._images_root = images_root
        self._caption_key = caption_key
        self._limits, self._max_bytes = limits, limits.max_bytes
        self._packed_split = packed_split

    def shards(self, patterns: Iterable[str]) -> list[Shard]:
        """Shards of all sources that match the patterns, in order. DataError naming the source."""
        named = [name for pattern in patterns for name in find(pattern)]
        sources = [source for name in named for source in _expand_index(name)]
        prefixes = prefixes_of({source: 2 if _is_file(source) else 1 for source in sources})
        return [shard for source in sources for shard in self._shards(source, prefixes[source])]

    def _shards(self, name: str, prefix: str) -> list[Shard]:
        ending = name_of(name).lower()
        if ending.endswith(TAR_ENDINGS):
            return [TarShard(name, prefix, self._max_bytes, self._caption_key)]
        if ending.endswith(TABLE_ENDINGS):
            return table_shards(name, prefix, self._columns, self._images_root, self._max_bytes)
        if ending.endswith(JSON_LINES_ENDINGS):
            return json_lines_shards(name, prefix, self._columns, self._images_root, self._max_bytes)
        if ending.endswith(PARQUET_ENDING):
            return parquet_shards(name, prefix, self._columns, self._images_root, self._max_bytes)
        if is_folder(name):
            return self._folder(name, prefix)
        if is_local(name):
            open_url(name).close()  # its error says why it cannot be read
        elif not exists(name):
            raise DataError(f"{name}: no such file")
        hint = "; unpack it into a folder first" if ending.endswith(ARCHIVE_ENDINGS) else ""
        raise DataError(f"{name}: not {KINDS}{hint}")

    def _folder(self, name: str, prefix: str) -> list[Shard]:
        """Shards of a packed data set, or of image files."""
        if is_local(name) and (Path(name) / INDEX_FILE).is_file():
            return packed_shards(Path(name), prefix, self._packed_split)
        return folder_shards(name, prefix, self._limits, self._caption_key)


def _is_file(name: str) -> bool:
    return name_of(name).lower().endswith(FILE_ENDINGS)


def _expand_index(name: str) -> list[str]:
    """The shard files of a folder that `data shards` wrote; else the source itself."""
    if _is_file(name) or not exists(join(name, SHARD_INDEX_FILE)):
        return [name]
    return indexed_files(name)


def prefixes_of(sources: Mapping[str, int]) -> dict[str, str]:
    """A unique prefix for each path or URL: the shortest end of its path with at least the given parts.

    Only different spellings of the same file share a prefix.
    """
    plain = Counter(without_query(source) for source in sources)
    paths = {source: _path(source, plain) for source in sources}
    lengths = {paths[source]: n for source, n in sources.items()}
    found: dict[str, str] = {}
    while lengths:
        sharing: defaultdict[str, list[str]] = defaultdict(list)
        for path, n in lengths.items():
            sharing[_path_suffix(path, n)].append(path)
        for prefix, alike in sharing.items():
            for path in alike:
                lengths[path] += 1
            if len(alike) == 1:
                found[alike[0]] = prefix
                del lengths[alike[0]]
    return {source: found[path] for source, path in paths.items()}


def _path(source: str, plain: Mapping[str, int]) -> str:
    """The path; a query is part of it only if two sources differ in nothing else."""
    if is_local(source):
        return os.path.normpath(Path(source).absolute())
    return source if plain[without_query(source)] > 1 else without_query(source)


def _path_suffix(path: str, n: int) -> str:
    parts = [part for part in path.split("/") if part]
    return "/".join(parts[-n:]) if n <= len(parts) else path
