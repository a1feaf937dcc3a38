"""Deal what clients do next, so many hostile requests among the good ones; sends nothing itself."""

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from itertools import cycle

from benchmarks.soak import stored, vectors
from benchmarks.soak.bad_manners import DAWDLING, LEAVING
from benchmarks.soak.broken import Broken, broken
from benchmarks.soak.caller import Caller
from benchmarks.soak.files import WAYS, shuffled
from benchmarks.soak.tally import Tally
from benchmarks.soak.world import World

BROKEN = "broken request"

Turn = Callable[[Caller, World], Awaitable[None]]

# How often each comes, of 100.
GOOD: Mapping[Turn, int] = {
    vectors.embed_picture: 18,
    vectors.embed_photo: 5,
    vectors.embed_form: 6,
    vectors.embed_texts: 6,
    vectors.openai_texts: 8,
    vectors.classify_known: 10,
    vectors.classify_new: 3,
    stored.search_words: 8,
    stored.search_picture: 6,
    stored.search_mix: 3,
    stored.search_changing: 4,
    stored.add: 6,
    stored.delete: 4,
    stored.thumbnail: 6,
    stored.original: 2,
    stored.patch: 2,
    stored.listing: 3,
}
FILES, WRONG, LEAVERS, DAWDLERS = 66, 22, 9, 3  # of 100 hostile ones
TAKES_LONG = frozenset(DAWDLING)  # these must not keep a client from its next request


class Deck:
    """A hostile turn is dealt when there were too few of them among all requests so far."""

    def __init__(self, world: World, tally: Tally, hostile_share: float) -> None:
        self._draw, self._tally, self._share = world.draw, tally, hostile_share
        self._hostile = _hostile(world)
        self._n_hostile = 0

    def deal(self) -> Turn:
        """What to do."""
        if self._n_hostile < self._share * (self._tally.n_good + self._n_hostile):
            self._n_hostile += 1
            return next(self._hostile)
        return self._draw.choices(list(GOOD), list(GOOD.values()))[0]


def _hostile(world: World) -> Iterator[Turn]:
    wrong = broken(world)
    piles: tuple[Iterator[Turn], ...] = (
        _files(world.draw),
        cycle(partial(_send_broken, one) for one in world.draw.sample(wrong, len(wrong))),
        cycle(LEAVING),
        cycle(DAWDLING),
    )
    while True:
        (pile,) = world.draw.choices(piles, (FILES, WRONG, LEAVERS, DAWDLERS))
        yield next(pile)


def _files(draw: random.Random) -> Iterator[Turn]:
    for way, (number, entry) in zip(cycle(WAYS), shuffled(draw), strict=True):
        yield partial(way, number=number, entry=entry)


async def _send_broken(one: Broken, caller: Caller, world: World) -> None:
    """On a connection of its own, which the server may close."""
    await caller.hostile(BROKEN, one.name, one.message, wanted=one.wanted, afresh=True)
