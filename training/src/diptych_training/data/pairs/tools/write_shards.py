"""Write pairs of any sources into tar shards, one after the other, so that a killed run goes on.

A shard appears under its name once it is whole, and is listed in the index then. The index says where in the
sources the next one begins: going on gives the same shards, byte for byte, as an unbroken run.
"""

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from diptych_training.data.pairs.image_files import ImageCheck, ending_of, map_in_threads
from diptych_training.data.pairs.pair import Entry, Pair, Shard, json_of_texts
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
    """How shards are made. `made_from` names sources and options: another one is another set of shards."""

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
        """sha256 over all that decides on the shards' bytes."""
        recipe = {"format": FORMAT, **self.made_from}
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


Watch = Callable[[int, int], object]  # told how many pairs, and how many skipped entries, were added


def write_shards(out: Path, shards: Sequence[Shard], plan: ShardPlan, watch: Watch) -> ShardIndex:
    """Write what is missing; returns the index of all. DataError when another run is at work in `out`, when
    it holds other shards, when a source cannot be read, or when too many entries are unusable."""
    out.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(out / ".lock", DataError(f"another run is writing shards to {out}")):
        index = _read_existing(out, plan)
        watch(index.n_pairs, index.n_skipped)
        writer = _Writer(out, plan, index, watch)
        if not index.is_complete:
            for index in writer.write(shards):
                write_shard_index(out, index)
    return index


class _Writer:
    def __init__(self, out: Path, plan: ShardPlan, index: ShardIndex, watch: Watch) -> None:
        self._out = out
        self._plan = plan
        self._index = index
        self._watch = watch
        self._n_pairs = index.n_pairs
        self._n_skipped = index.n_skipped

    def write(self, shards: Sequence[Shard]) -> Iterator[ShardIndex]:
        """The index after each shard, and after the last one as complete."""
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
                f"the sources hold no pair that can be used, {skipped.total():,} that cannot{reasons}"
            )
        self._index = replace(self._index, is_complete=True, skipped_at_end=dict(skipped))
        yield self._index

    def _shard(self, entries: Iterator[tuple[Entry, Cursor]], skipped: Counter[str]) -> ShardEntry | None:
        """The next shard, written; None when there is no pair left. `skipped` counts what is passed over."""
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
                    self._watch(1, 0)
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
        """The pairs; `skipped` counts the other entries by what is wrong. DataError beyond the bound."""
        for entry, cursor in entries:
            if isinstance(entry, Pair):
                yield entry, cursor
                continue
            skipped[_reason_category(entry.reason)] += 1
            self._n_skipped += 1
            self._watch(0, 1)
            n_read = self._n_pairs + self._n_skipped
            if self._n_skipped > max(MIN_ALLOWED_SKIPS, self._plan.max_skipped * n_read):
                raise DataError(
                    f"{entry.name}: {entry.reason}. It is one of {self._n_skipped} unusable of the {n_read} "
                    f"entries so far; --max-skipped allows {self._plan.max_skipped:g} of them, "
                    f"and {MIN_ALLOWED_SKIPS} in any case"
                )


class _DigestWriter:
    """A file to write that knows the sha256 and the length of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.n_bytes = 0

    def write(self, payload: bytes) -> int:
        """Write all of it."""
        self._sha256.update(payload)
        self.n_bytes += len(payload)
        return self._file.write(payload)

    @property
    def sha256(self) -> str:
        """Of all that was written so far."""
        return self._sha256.hexdigest()


def _read_existing(out: Path, plan: ShardPlan) -> ShardIndex:
    """What an earlier run of the same plan has completed."""
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
            f"{out} holds shards that were made otherwise ({'; '.join(differing) or 'by another release'}): "
            "choose another --out"
        )
    return index


def _add_pair(archive: tarfile.TarFile, number: int, pair: Pair) -> None:
    """Image and first text for every reader of such shards; all texts beside them where there are more."""
    stem = f"{number:0{DIGITS}}"
    texts = pair.texts
    files = {ending_of(pair.image): pair.image, "txt": texts.first.encode("utf-8", "surrogatepass")}
    if texts.label is not None or len(texts.captions) > 1:
        files["json"] = json_of_texts(texts)
    for ending, content in files.items():
        info = tarfile.TarInfo(f"{stem}.{ending}")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))


def _reason_category(reason: str) -> str:
    """A reason without what is one entry's own: its numbers."""
    return re.sub(r"\d+", "N", reason)[:100]
