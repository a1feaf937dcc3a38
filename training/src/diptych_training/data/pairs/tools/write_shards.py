"""Write pairs from any sources to tar shards, one after the other, so that an interrupted run can continue.

A shard gets its name, and is listed in the index, once it is complete. The index records where in the sources
the next shard begins: a continued run writes the same shards, byte for byte, as an uninterrupted one.
"""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from diptych_training.data.pairs.image_files import ImageCheck, ending_of, map_in_threads
from diptych_training.data.pairs.pair import Entry, Pair, Shard, json_of_texts, reason_category
from diptych_training.data.pairs.sources.shard_index import (
    SHARD_INDEX_FILE,
    ShardEntry,
    ShardIndex,
    read_shard_index,
    write_shard_index,
)
from diptych_training.data.pairs.stream.order import Cursor, Order, Stream
from diptych_training.data.pairs.stream.prepare import MIN_ALLOWED_SKIPS
from diptych_training.errors import DataError
from diptych_training.files import exclusive_lock, open_atomic

FORMAT = 1  # raise it when the same sources and options give other bytes
DIGITS = 8  # of a pair's number, which is its name


@dataclass(frozen=True)
class ShardPlan:
    """How shards are made. `made_from` records sources and options, which identify a set of shards."""

    name: str
    pairs_per_shard: int
    bytes_per_shard: int
    order: Order
    check: ImageCheck
    made_from: dict[str, Any]
    max_skipped: float
    excluded: frozenset[str] = frozenset()
    n_threads: int = 1

    @property
    def recipe(self) -> str:
        """sha256 over everything that determines the shards' bytes."""
        recipe = {"format": FORMAT, **self.made_from}
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


OnProgress = Callable[[int, int], object]  # receives the numbers of pairs and skipped entries added


def write_shards(out: Path, shards: Sequence[Shard], plan: ShardPlan, on_progress: OnProgress) -> ShardIndex:
    """Write the missing shards; return the index of all.

    DataError if another run is writing to `out`, if it holds other shards, if a source cannot be read, or if
    too many entries are unusable.
    """
    out.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(out / ".lock", DataError(f"another run is writing shards to {out}")):
        index = _read_existing(out, plan)
        on_progress(index.n_pairs, index.n_skipped)
        writer = _Writer(out, plan, index, on_progress)
        if not index.is_complete:
            for index in writer.write(shards):
                write_shard_index(out, index)
    return index


class _Writer:
    def __init__(self, out: Path, plan: ShardPlan, index: ShardIndex, on_progress: OnProgress) -> None:
        self._out = out
        self._plan = plan
        self._index = index
        self._on_progress = on_progress
        self._n_pairs = index.n_pairs
        self._n_skipped = index.n_skipped

    def write(self, shards: Sequence[Shard]) -> Iterator[ShardIndex]:
        """Yield the index after each shard; the last one is marked complete."""
        start = Cursor(*self._index.shards[-1].position) if self._index.shards else Cursor()
        entries = Stream(shards, 0, self._plan.order).entries(start, 1, self._plan.excluded)
        checked = map_in_threads(entries, lambda found: self._plan.check(found[0]), self._plan.n_threads)
        made = ((entry, cursor) for (_, cursor), entry in checked)
        skipped: Counter[str] = Counter()
        while (shard := self._shard(made, skipped)) is not None:
            self._index = replace(self._index, shards=(*self._index.shards, shard))
            yield self._index
            skipped = Counter()
        if not self._index.shards:
            reasons = "".join(f"; {n:,}: {reason}" for reason, n in skipped.most_common(1))
            raise DataError(
                f"the sources have no usable pair, and {skipped.total():,} unusable entries{reasons}"
            )
        self._index = replace(self._index, is_complete=True, skipped_at_end=dict(skipped))
        yield self._index

    def _shard(self, entries: Iterator[tuple[Entry, Cursor]], skipped: Counter[str]) -> ShardEntry | None:
        """Write the next shard; None if there is no pair left. `skipped` counts skipped entries by reason."""
        pairs = self._usable(entries, skipped)
        first = next(pairs, None)
        if first is None:
            return None
        file = f"{self._plan.name}-{len(self._index.shards):06}.tar"
        first_number = self._n_pairs
        with open_atomic(self._out / file) as opened:
            digest = _DigestWriter(opened)
            with tarfile.open(fileobj=cast(Any, digest), mode="w|", format=tarfile.PAX_FORMAT) as archive:
                for pair, cursor in chain([first], pairs):  # noqa: B007
                    _add_pair(archive, self._n_pairs, pair)
                    self._n_pairs += 1
                    self._on_progress(1, 0)
                    if self._is_full(self._n_pairs - first_number, digest.n_bytes):
                        break
        position = [cursor.epoch, cursor.shard, cursor.entry, cursor.taken]
        n_pairs = self._n_pairs - first_number
        return ShardEntry(file, n_pairs, digest.n_bytes, digest.sha256, position, dict(skipped))

    def _is_full(self, n_pairs: int, n_bytes: int) -> bool:
        return n_pairs == self._plan.pairs_per_shard or n_bytes >= self._plan.bytes_per_shard

    def _usable(
        self, entries: Iterator[tuple[Entry, Cursor]], skipped: Counter[str]
    ) -> Iterator[tuple[Pair, Cursor]]:
        """Yield pairs and count other entries in `skipped`. DataError if too many are skipped."""
        for entry, cursor in entries:
            if isinstance(entry, Pair):
                yield entry, cursor
                continue
            skipped[reason_category(entry.reason)] += 1
            self._n_skipped += 1
            self._on_progress(0, 1)
            n_read = self._n_pairs + self._n_skipped
            if self._n_skipped > max(MIN_ALLOWED_SKIPS, self._plan.max_skipped * n_read):
                raise DataError(
                    f"{entry.name}: {entry.reason}. It is one of {self._n_skipped} unusable of the {n_read} "
                    f"entries so far; --max-skipped allows {self._plan.max_skipped:g} of them, "
                    f"and {MIN_ALLOWED_SKIPS} in any case"
                )


class _DigestWriter:
    """A writable file that tracks sha256 and length of its content."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.n_bytes = 0

    def write(self, payload: bytes) -> int:
        """Write the whole payload."""
        self._sha256.update(payload)
        self.n_bytes += len(payload)
        return self._file.write(payload)

    @property
    def sha256(self) -> str:
        """sha256 of everything written so far."""
        return self._sha256.hexdigest()


def _read_existing(out: Path, plan: ShardPlan) -> ShardIndex:
    """The index of an earlier run with the same plan, or an empty one."""
    if not (out / SHARD_INDEX_FILE).exists():
        return ShardIndex(plan.recipe, plan.made_from)
    index = read_shard_index(str(out))
    if index.recipe != plan.recipe:
        differing = [
            f"{key} was {index.made_from.get(key)!r}, is {value!r}"
            for key, value in plan.made_from.items()
            if index.made_from.get(key) != value
        ]
        raise DataError(
            f"{out} holds shards made with other options ({'; '.join(differing) or 'of another release'}): "
            "choose another --out"
        )
    return index


def _add_pair(archive: tarfile.TarFile, number: int, pair: Pair) -> None:
    """Write the image and its first text as any WebDataset reader expects, and a JSON file for more texts."""
    stem = f"{number:0{DIGITS}}"
    texts = pair.texts
    files = {ending_of(pair.image): pair.image, "txt": texts.first.encode("utf-8", "surrogatepass")}
    if texts.label is not None or len(texts.captions) > 1:
        files["json"] = json_of_texts(texts)
    for ending, content in files.items():
        info = tarfile.TarInfo(f"{stem}.{ending}")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
