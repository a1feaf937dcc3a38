"""The port by which a server knows the others that use the same database, and what they have written."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

from diptych.core.types import CollectionInfo, Target


@dataclass(frozen=True)
class RowChange:
    """What a write of another server did to rows of a collection.

    `added` rows have a vector of the identity, `embedded` ones were there and have got one, `removed` ones
    are gone.
    """

    write: int
    c: int
    kind: Literal["added", "embedded", "removed"]
    identity: str | None
    keys: Sequence[int]


@dataclass(frozen=True)
class News:
    """What other servers have written, in order, up to the number `write`, whose id is `id`; writes of all
    servers are numbered.

    `collections` are all there are now, without their numbers of images. `only_adds`: rows that were there
    are as they were. Not `is_whole`: more was written than is remembered.

    `switched`: the last write that changed which versions serve, if there is one; `active` serves since.
    """

    write: int
    id: str
    generation: int
    collections: Sequence[CollectionInfo]
    changes: Sequence[RowChange]
    only_adds: bool
    is_whole: bool
    switched: int | None = None
    active: Target | None = None


@dataclass(frozen=True)
class Announced:
    """The name of a server that has announced something, and whether one that has is alive."""

    name: str
    is_alive: bool


class Peers(Protocol):
    """The servers that use the same database at the same time. Raises StoreUnavailable.

    A server is alive as long as it can write. One that only reads knows the others, and they do not know it:
    it never leads, and what it announces is not heard.
    """

    @property
    def is_alone(self) -> bool:
        """Whether no other server can use the database."""
        ...

    @property
    def name(self) -> str:
        """The name by which others know this server; empty where there are none."""
        ...

    async def lacking(self) -> int | None:
        """The number of the last write, if others have written since the last `news` that were taken."""
        ...

    def knows(self, write: int) -> bool:
        """Whether news up to a write were taken."""
        ...

    async def news(self) -> News:
        """What other servers have written since the last news that were taken."""
        ...

    def take(self, news: News) -> None:
        """Note that this server knows the news, as what it holds in memory is up to date with them."""
        ...

    async def live(self) -> None:
        """Be alive, also after a connection was lost. To be called each few seconds."""
        ...

    async def others(self) -> list[str]:
        """The names of the other servers that are alive."""
        ...

    async def leads(self) -> bool:
        """Whether this server does what one server does for all. For a moment, two may believe it."""
        ...

    def writing_alone(self) -> AbstractAsyncContextManager[None]:
        """Let no other server write inside the block. Raises StoreUnavailable."""
        ...

    async def announce(self, what: str, note: str = "") -> None:
        """Say something to the others, as long as this server is alive."""
        ...

    async def withdraw(self, what: str, *, of_all: bool = False) -> None:
        """Say something no more; `of_all`: nobody does."""
        ...

    async def lacking_announcement(self, what: str) -> list[str]:
        """The others that are alive, or may come back, and have not announced something without a note: each
        by its name, with its note.
        """
        ...

    async def announced(self, prefix: str) -> Mapping[str, Announced]:
        """What servers have announced that begins with a prefix, those that are gone, too."""
        ...


class NoPeers:
    """Satisfies Peers: no other server can use the database."""

    is_alone, name = True, ""

    async def lacking(self) -> int | None:
        """Nothing."""
        return None

    def knows(self, write: int) -> bool:
        """All."""
        return True

    async def news(self) -> News:
        """Never called."""
        raise AssertionError("nothing is lacking")

    def take(self, news: News) -> None:
        """Never called."""

    async def live(self) -> None:
        """Nothing to do."""

    async def others(self) -> list[str]:
        """None."""
        return []

    async def leads(self) -> bool:
        """Always."""
        return True

    def writing_alone(self) -> AbstractAsyncContextManager[None]:
        """Nothing to do."""
        return nullcontext()

    async def announce(self, what: str, note: str = "") -> None:
        """Nothing to do."""

    async def withdraw(self, what: str, *, of_all: bool = False) -> None:
        """Nothing to do."""

    async def lacking_announcement(self, what: str) -> list[str]:
        """None."""
        return []

    async def announced(self, prefix: str) -> Mapping[str, Announced]:
        """Nothing."""
        return {}
