"""The order in which a stream reads entries, as a pure function of seed and place; knows nothing of images.

Every epoch has an order of all shards of its own. Of these, stream k of n reads the k-th, the (k + n)-th and
so on, a block of entries at a time, and gives the entries of a block in random order. A place in a stream is
four numbers; reading on from there costs reading one block again.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from diptych_training.data.pairs.pair import Entry, EveryNth, Shard
from diptych_training.errors import DataError

SHARDS, ENTRIES = 1, 2  # what random numbers are for: two uses of one seed never share them


@dataclass(frozen=True, order=True)
class Cursor:
    """A place: `taken` entries of the block that begins at `entry` of the epoch's `shard`-th shard."""

    epoch: int = 0
    shard: int = 0
    entry: int = 0
    taken: int = 0


@dataclass(frozen=True)
class Order:
    """How entries are mixed. `block_size` entries are held by each stream to be mixed; 1: none are."""

    seed: int
    n_streams: int
    block_size: int
    is_shuffled: bool = True


class Stream:
    """Stream `number` of `order.n_streams` over the same shards."""

    def __init__(self, shards: Sequence[Shard], number: int, order: Order) -> None:
        assert 0 <= number < order.n_streams
        assert shards
        self._shards = shared(shards, order.n_streams)
        self._number = number
        self._order = order
        self._fruitful: int | None = None  # a shard that had something when it was last looked at

    def entries(
        self, start: Cursor, n_epochs: int | None = None, excluded: Set[str] = frozenset()
    ) -> Iterator[tuple[Entry, Cursor]]:
        """Entries from `start` on but for those whose names are excluded, each with the place after it;
        without end, or up to `n_epochs`.

        DataError when a shard cannot be read, or when what has no end would never give anything.
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
        """DataError unless some epoch gives something. One may give nothing: of few shards, of which some are
        empty or excluded, a stream is given one of those now and others later."""
        shards = self._of_epoch(epoch) if not self._order.is_shuffled else np.arange(len(self._shards))
        likeliest = [] if self._fruitful is None else [self._fruitful]
        n_excluded = 0
        for number in (*likeliest, *shards.tolist()):
            for entry in self._shards[number].entries(excluded=excluded):
                if entry.name not in excluded:
                    self._fruitful = number
                    return
                n_excluded += 1
        title = f"stream {self._number} of {self._order.n_streams}"
        if n_excluded:
            raise DataError(f"{title}: all of its {n_excluded:,} pairs are on the list of excluded ones")
        raise DataError(
            f"{title} has no pairs: there are fewer than streams, or its shards are empty, such as "
            f"{self._shards[shards[0]].location}"
        )

    def _epoch(self, start: Cursor, excluded: Set[str]) -> Iterator[tuple[Entry, Cursor]]:
        source = self._in_order(start, excluded)
        while block := list(islice(source, self._order.block_size)):
            after = block[-1][1]
            mixed = self._mixed(len(block), start)
            for taken in range(start.taken, len(block)):
                is_last = taken + 1 == len(block)
                cursor = after if is_last else Cursor(start.epoch, start.shard, start.entry, taken + 1)
                yield block[mixed[taken]][0], cursor
            start = after

    def _in_order(self, start: Cursor, excluded: Set[str]) -> Iterator[tuple[Entry, Cursor]]:
        """The entries of an epoch from a block's beginning on, each with where the next block would begin."""
        shards = self._of_epoch(start.epoch)
        for number in range(start.shard, len(shards)):
            first = start.entry if number == start.shard else 0
            entries = self._shards[shards[number]].entries(first, excluded=excluded)
            for entry_number, entry in enumerate(entries, first + 1):
                yield entry, Cursor(start.epoch, number, entry_number)

    def _of_epoch(self, epoch: int) -> NDArray[np.int64]:
        """Which shards this stream reads in an epoch, in order."""
        n = len(self._shards)
        order = np.arange(n)
        if self._order.is_shuffled:
            order = np.random.default_rng((self._order.seed, SHARDS, epoch)).permutation(n)
        return order[self._number :: self._order.n_streams]

    def _mixed(self, n: int, block: Cursor) -> NDArray[np.int64]:
        if not self._order.is_shuffled:
            return np.arange(n)
        place = (self._number, block.epoch, block.shard, block.entry)
        return np.random.default_rng((self._order.seed, ENTRIES, *place)).permutation(n)


def in_turns(shards: Sequence[Shard], order: Order, excluded: Set[str] = frozenset()) -> Iterator[Entry]:
    """One epoch without excluded ones: an entry of each stream in turn, so that they come from all over."""
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


def shared(shards: Sequence[Shard], n_streams: int) -> Sequence[Shard]:
    """At least one shard a stream: where there are fewer, each is shared by as many streams as it takes."""
    step = -(-n_streams // len(shards))
    if step == 1:
        return shards
    return [EveryNth(shard, first, step) for shard in shards for first in range(step)]
