"""The order in which a stream reads entries, as a pure function of seed and position.

Every epoch has its own order of all shards. Stream k of n reads the k-th, the (k + n)-th shard and so on, a
block of entries at a time, and yields the entries of a block in random order. A position in a stream is four
numbers; resuming there costs reading one block again.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from diptych_training.data.pairs.pair import Entry, EveryNth, Shard
from diptych_training.errors import DataError

SHARD_ORDER_STREAM, ENTRY_ORDER_STREAM = 1, 2  # part of each seed: no two uses share random numbers


@dataclass(frozen=True, order=True)
class Cursor:
    """A position: `taken` entries of the block that begins at `entry` of the epoch's `shard`-th shard."""

    epoch: int = 0
    shard: int = 0
    entry: int = 0
    taken: int = 0


@dataclass(frozen=True)
class Order:
    """How entries are shuffled. Each stream shuffles blocks of `block_size` entries; 1: none."""

    seed: int
    n_streams: int
    block_size: int
    is_shuffled: bool = True


class Stream:
    """Stream `number` of `order.n_streams` over the same shards."""

    def __init__(self, shards: Sequence[Shard], number: int, order: Order) -> None:
        assert 0 <= number < order.n_streams
        assert shards
        self._shards = split_among_streams(shards, order.n_streams)
        self._number = number
        self._order = order
        self._nonempty_shard: int | None = None  # a shard that had entries when last read

    def entries(
        self, start: Cursor, n_epochs: int | None = None, excluded: Set[str] = frozenset()
    ) -> Iterator[tuple[Entry, Cursor]]:
        """Entries from `start` on without excluded ones, each with the position after it.

        Endless, or up to `n_epochs`. DataError if a shard cannot be read, or if an endless stream would never
        yield anything.
        """
        epoch = start.epoch
        while n_epochs is None or epoch < n_epochs:
            is_empty = True
            for entry, cursor in self._epoch(max(start, Cursor(epoch)), excluded):
                if entry.name not in excluded:
                    is_empty = False
                    yield entry, cursor
            if is_empty and n_epochs is None:
                self._require_any(epoch, excluded)
            epoch += 1

    def _require_any(self, epoch: int, excluded: Set[str]) -> None:
        """Raise DataError unless some epoch yields an entry.

        A single epoch may yield nothing: with few shards, some empty or excluded, a stream may get only those
        in one epoch and others later.
        """
        shards = self._shard_order(epoch) if not self._order.is_shuffled else np.arange(len(self._shards))
        likeliest = [] if self._nonempty_shard is None else [self._nonempty_shard]
        n_excluded = 0
        for number in (*likeliest, *shards.tolist()):
            for entry in self._shards[number].entries(excluded=excluded):
                if entry.name not in excluded:
                    self._nonempty_shard = number
                    return
                n_excluded += 1
        title = f"stream {self._number} of {self._order.n_streams}"
        if n_excluded:
            raise DataError(f"{title}: all of its {n_excluded:,} pairs are excluded")
        raise DataError(
            f"{title} has no pairs: there are fewer pairs than streams, or its shards are empty, such as "
            f"{self._shards[shards[0]].location}"
        )

    def _epoch(self, start: Cursor, excluded: Set[str]) -> Iterator[tuple[Entry, Cursor]]:
        source = self._entries_in_order(start, excluded)
        while block := list(islice(source, self._order.block_size)):
            after = block[-1][1]
            mixed = self._block_permutation(len(block), start)
            for taken in range(start.taken, len(block)):
                is_last = taken + 1 == len(block)
                cursor = after if is_last else Cursor(start.epoch, start.shard, start.entry, taken + 1)
                yield block[mixed[taken]][0], cursor
            start = after

    def _entries_in_order(self, start: Cursor, excluded: Set[str]) -> Iterator[tuple[Entry, Cursor]]:
        """Entries of an epoch from the start of a block on, each with the position of a block after it."""
        shards = self._shard_order(start.epoch)
        for number in range(start.shard, len(shards)):
            first = start.entry if number == start.shard else 0
            entries = self._shards[shards[number]].entries(first, excluded=excluded)
            for entry_number, entry in enumerate(entries, first + 1):
                yield entry, Cursor(start.epoch, number, entry_number)

    def _shard_order(self, epoch: int) -> NDArray[np.int64]:
        """The shards that this stream reads in an epoch, in order."""
        n = len(self._shards)
        order = np.arange(n)
        if self._order.is_shuffled:
            order = np.random.default_rng((self._order.seed, SHARD_ORDER_STREAM, epoch)).permutation(n)
        return order[self._number :: self._order.n_streams]

    def _block_permutation(self, n: int, block: Cursor) -> NDArray[np.int64]:
        if not self._order.is_shuffled:
            return np.arange(n)
        place = (self._number, block.epoch, block.shard, block.entry)
        return np.random.default_rng((self._order.seed, ENTRY_ORDER_STREAM, *place)).permutation(n)


def round_robin(shards: Sequence[Shard], order: Order, excluded: Set[str] = frozenset()) -> Iterator[Entry]:
    """One epoch without excluded entries: an entry of each stream in turn, so that all parts are mixed."""
    streams = [
        Stream(shards, number, order).entries(Cursor(), 1, excluded) for number in range(order.n_streams)
    ]
    while streams:
        for stream in tuple(streams):
            found = next(stream, None)
            if found is None:
                streams.remove(stream)
            else:
                yield found[0]


def split_among_streams(shards: Sequence[Shard], n_streams: int) -> Sequence[Shard]:
    """At least one shard per stream: if there are fewer, several streams share each shard."""
    step = -(-n_streams // len(shards))
    if step == 1:
        return shards
    return [EveryNth(shard, first, step) for shard in shards for first in range(step)]
