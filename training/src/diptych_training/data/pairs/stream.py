"""The order in which a stream reads entries, as a pure function of seed and place; knows nothing of images.

Every epoch has an order of all shards of its own. Of these, stream k of n reads the k-th, the (k + n)-th and
so on, a block of entries at a time, and gives the entries of a block in random order. A place in a stream is
four numbers; reading on from there costs reading one block again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from diptych_training.data.pairs.pair import Entry, EveryNth, Shard
from diptych_training.errors import DataError

MAX_EMPTY_EPOCHS = 10  # a stream may be given empty shards in one of them, and others in the next
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

    def entries(self, start: Cursor, n_epochs: int | None = None) -> Iterator[tuple[Entry, Cursor]]:
        """Entries from `start` on, each with the place after it; without end, or up to `n_epochs`.

        DataError when a shard cannot be read, or when nothing is found for many epochs.
        """
        epoch, found_in = start.epoch, start.epoch
        while n_epochs is None or epoch < n_epochs:
            for entry, cursor in self._epoch(max(start, Cursor(epoch))):
                found_in = epoch
                yield entry, cursor
            if epoch - found_in == MAX_EMPTY_EPOCHS:
                example = self._shards[self._of_epoch(epoch)[0]].location
                raise DataError(
                    f"stream {self._number} of {self._order.n_streams} has no pairs: there are fewer than "
                    f"streams, or its shards are empty, such as {example}"
                )
            epoch += 1

    def _epoch(self, start: Cursor) -> Iterator[tuple[Entry, Cursor]]:
        source = self._in_order(start)
        while block := list(islice(source, self._order.block_size)):
            after = block[-1][1]
            mixed = self._mixed(len(block), start)
            for taken in range(start.taken, len(block)):
                is_last = taken + 1 == len(block)
                cursor = after if is_last else Cursor(start.epoch, start.shard, start.entry, taken + 1)
                yield block[mixed[taken]][0], cursor
            start = after

    def _in_order(self, start: Cursor) -> Iterator[tuple[Entry, Cursor]]:
        """The entries of an epoch from a block's beginning on, each with where the next block would begin."""
        shards = self._of_epoch(start.epoch)
        for number in range(start.shard, len(shards)):
            first = start.entry if number == start.shard else 0
            entries = self._shards[shards[number]].entries(first)
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


def shared(shards: Sequence[Shard], n_streams: int) -> Sequence[Shard]:
    """At least one shard a stream: where there are fewer, each is shared by as many streams as it takes."""
    step = -(-n_streams // len(shards))
    if step == 1:
        return shards
    return [EveryNth(shard, first, step) for shard in shards for first in range(step)]
