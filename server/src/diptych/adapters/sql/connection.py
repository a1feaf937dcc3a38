"""What the statements of this package ask of a database, which SQLite and PostgreSQL satisfy.

Statements are written in SQLite's language, in the part of it that `adapters.postgres` translates. What the
two databases do in different ways is a method of the `Dialect`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from diptych.core.collections.metadata.facets import FieldSummary, Months
from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.metadata.ordering import OrderBy
from diptych.core.collections.metadata.words import WordQuery
from diptych.core.types import Embedding, Keys
from diptych.failpoints import RolloutStep, Step

AnyStep = Step | RolloutStep
Result = TypeVar("Result")
Stopped = Callable[[], bool]  # whether the caller was cancelled

MATCH = np.dtype([("key", np.int64), ("rank", np.float64)])
Matches = np.ndarray[tuple[int], np.dtype[np.void]]  # of MATCH; the least rank is the best


class Cursor(Protocol):
    """The rows of a statement."""

    @property
    def rowcount(self) -> int: ...  # noqa: D102 - as in the DB-API

    def fetchone(self) -> Any: ...  # noqa: D102

    def fetchmany(self, size: int, /) -> list[Any]: ...  # noqa: D102

    def fetchall(self) -> list[Any]: ...  # noqa: D102

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None: ...  # noqa: D102


class Connection(Protocol):
    """A connection in a transaction."""

    @property
    def dialect(self) -> "Dialect":
        """What this database does in its own way."""
        ...

    def execute(self, statement: str, parameters: Sequence[Any] = ..., /) -> Cursor: ...  # noqa: D102

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class Writing:
    """The values that embeddings of one write share: collection, number of the identity, change number."""

    c: int
    identity: int
    change: int


class Dialect(Protocol):
    """What SQLite and PostgreSQL do in different ways. `db` is a connection of the dialect's own kind."""

    def matching_keys(self, db: Any, c: int, filter: Filter, stopped: Stopped, after_key: int = -1) -> Keys:
        """The keys above `after_key` of rows whose metadata pass the filter, ascending; none once stopped."""
        ...

    def ordered_keys(
        self, db: Any, c: int, keys: Keys | None, order_by: OrderBy, stopped: Stopped
    ) -> Keys | None:
        """The given keys of a collection, or all, in the order of a field; None once stopped."""
        ...

    def summarise(
        self, db: Any, keys: Keys, limit: int, stopped: Stopped, *, nested: bool
    ) -> FieldSummary | None:
        """The fields of the images with these keys, see `metadata.fields`; None once stopped."""
        ...

    def months(
        self, db: Any, c: int, keys: Keys | None, order_by: OrderBy, stopped: Stopped
    ) -> Months | None:
        """The number of the given images, or all, by the month of a field; None once stopped."""
        ...

    def texts(
        self, db: Any, c: int, keys: Keys | None, order_by: OrderBy, stopped: Stopped
    ) -> dict[str, int] | None:
        """The number of the given images, or all, by the text of a field; None once stopped."""
        ...

    def create_words(self, db: Any, c: int) -> None:
        """Make the empty table of the words of a collection."""
        ...

    def find_words(self, db: Any, c: int, query: WordQuery, stopped: Stopped) -> Matches:
        """The rows of a collection whose words match; none once stopped."""
        ...

    def put_embedding(
        self, db: Any, key: int, embedding: Embedding, writing: Writing, *, is_new: bool = False
    ) -> None:
        """Add the embedding of one row, or replace it. `is_new`: the row is added with it."""
        ...

    def embedded_since(self, db: Any, c: int, keys: Sequence[int], change: int) -> set[int]:
        """Those rows of a collection that a later change than this one gave an embedding."""
        ...

    def delete_embeddings(self, db: Any, c: int, keys: Sequence[int]) -> None:
        """Delete the embeddings of rows of a collection, of all identities."""
        ...

    def clear_collection(self, db: Any, c: int) -> None:
        """Empty at once what a dropped collection has in tables of its own."""
        ...

    def drop_tables(self, db: Any, c: int) -> None:
        """Drop the tables that a collection has of its own."""
        ...

    def begin_switch(self, db: Any, rollout: str | None) -> None:
        """Prepare to serve or move to other versions. Raises SwitchRefused unless all other servers that are
        alive are ready to switch by the rollout, Conflict without one while any are alive.
        """
        ...

    def require_followed(self, db: Any) -> None:
        """Raise PairChanged if another server has switched versions, which this one does not know yet."""
        ...

    def last_write(self, db: Any) -> int:
        """The number of the last write of all servers; 0 where there is one server."""
        ...


Work = Callable[[Any], Result]  # of a Connection; some work needs the one of its own database


class Threads(Protocol):
    """Runs work on the database outside the event loop, see `SqliteThreads`."""

    async def write(  # noqa: D102
        self,
        work: Work[Result],
        *,
        step: AnyStep = "commit",
        makes_room: bool = False,
        then: Callable[[], None] = ...,
    ) -> Result: ...

    async def read(self, work: Work[Result]) -> Result: ...  # noqa: D102

    async def scan(self, work: Work[Result]) -> Result: ...  # noqa: D102

    def read_now(self, work: Work[Result]) -> Result: ...  # noqa: D102


class Many(list[Any]):
    """Any number of values as one parameter, for `rows.ONE_OF`."""
