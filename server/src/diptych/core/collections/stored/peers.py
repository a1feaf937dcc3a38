"""The port by which a server knows the others that use the same database, and what they have written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from diptych.core.types import CollectionInfo


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
    """

    write: int
    id: str
    collections: Sequence[CollectionInfo]
    changes: Sequence[RowChange]
    only_adds: bool
    is_whole: bool


class Peers(Protocol):
    """The servers that use the same database at the same time. Raises StoreUnavailable.

    A server is alive as long as it can write.
    """

    @property
    def is_alone(self) -> bool:
        """Whether no other server can use the database."""
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


class NoPeers:
    """Satisfies Peers: no other server can use the database."""

    is_alone = True

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
