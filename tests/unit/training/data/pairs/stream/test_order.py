"""The order of a stream: a pure function of seed and place."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import islice

import pytest

from diptych_training.data.pairs.pair import Entry, Unusable
from diptych_training.data.pairs.stream.order import Cursor, Order, Stream
from diptych_training.errors import DataError


@dataclass(frozen=True)
class Numbers:
    """A shard of entries that are told by their numbers."""

    first: int
    n: int

    @property
    def location(self) -> str:
        return f"numbers from {self.first}"

    prefix = "numbers"
    files = ()

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        for number in range(self.first + start, self.first + self.n, step):
            yield Unusable(str(number), "a number")


def shards(*sizes: int) -> list[Numbers]:
    return [Numbers(100 * number, size) for number, size in enumerate(sizes)]


def numbers(stream: Stream, n: int | None, **epochs: int) -> list[int]:
    return [int(entry.name) for entry, _ in islice(stream.entries(Cursor(), **epochs), n)]


def whole(*sizes: int) -> list[int]:
    return sorted(100 * number + offset for number, size in enumerate(sizes) for offset in range(size))


@pytest.mark.parametrize("n_streams", [1, 2, 3])
def test_streams_share_an_epoch_between_them(n_streams):
    order = Order(seed=1, n_streams=n_streams, block_size=4)
    streams = [Stream(shards(5, 9, 3), number, order) for number in range(n_streams)]
    assert sorted(one for s in streams for one in numbers(s, None, n_epochs=1)) == whole(5, 9, 3)


def test_each_epoch_and_each_seed_has_an_order_of_its_own():
    sizes = (6, 6, 6)
    one = Stream(shards(*sizes), 0, Order(seed=1, n_streams=1, block_size=6))
    two = Stream(shards(*sizes), 0, Order(seed=2, n_streams=1, block_size=6))
    epochs = numbers(one, 36)
    assert sorted(epochs[:18]) == sorted(epochs[18:]) == whole(*sizes)
    assert epochs[:18] != epochs[18:]
    assert epochs[:18] != numbers(two, 18)
    assert epochs != sorted(epochs)


@pytest.mark.parametrize("is_shuffled", [True, False])
@pytest.mark.parametrize("n_streams", [1, 2, 5])
@pytest.mark.parametrize("block_size", [1, 4, 100])
def test_from_every_place_the_stream_goes_on_as_if_unbroken(n_streams, block_size, is_shuffled):
    order = Order(7, n_streams, block_size, is_shuffled)
    unbroken = list(islice(Stream(shards(5, 0, 9, 3), n_streams - 1, order).entries(Cursor()), 45))
    for done, (_, place) in enumerate(unbroken, 1):
        fresh = Stream(shards(5, 0, 9, 3), n_streams - 1, order)
        assert list(islice(fresh.entries(place), 45 - done)) == unbroken[done:]


def test_a_stream_without_any_entry_is_an_error_and_not_an_endless_search():
    with pytest.raises(DataError, match=r"stream 0 of 1 has no pairs.*numbers from 0"):
        next(Stream(shards(0), 0, Order(seed=1, n_streams=1, block_size=4)).entries(Cursor()))
    with pytest.raises(DataError, match=r"stream 2 of 3 has no pairs: there are fewer pairs than streams"):
        next(Stream(shards(2), 2, Order(1, 3, 4, is_shuffled=False)).entries(Cursor()))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_streams", [1, 4, 7])
def test_a_stream_that_is_given_excluded_entries_for_whole_epochs_goes_on_to_the_others(seed, n_streams):
    """Of four shards three are left out: most epochs of a stream hold nothing else."""
    excluded = {str(number) for number in whole(5, 5, 5, 5) if number < 300}
    stream = Stream(shards(5, 5, 5, 5), n_streams - 1, Order(seed, n_streams, block_size=4))
    found = list(islice(stream.entries(Cursor(), excluded=excluded), 30))
    assert {int(entry.name) for entry, _ in found} == set(range(300, 305))
    for done in (1, 7, 20):
        fresh = Stream(shards(5, 5, 5, 5), n_streams - 1, Order(seed, n_streams, block_size=4))
        assert list(islice(fresh.entries(found[done - 1][1], excluded=excluded), 30 - done)) == found[done:]


@pytest.mark.parametrize(("n_streams", "is_shuffled"), [(1, True), (3, True), (1, False), (2, False)])
def test_a_stream_whose_entries_are_all_excluded_is_an_error_and_not_an_endless_search(
    n_streams, is_shuffled
):
    excluded = {str(number) for number in whole(5, 5)}
    stream = Stream(shards(5, 5), 0, Order(1, n_streams, 4, is_shuffled))
    n = 5 if n_streams == 2 else 10  # two streams in a fixed order have a shard each
    with pytest.raises(DataError, match=rf"stream 0 of {n_streams}: all of its {n} pairs are excluded"):
        next(stream.entries(Cursor(), excluded=excluded))
