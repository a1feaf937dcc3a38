"""The last writes of a database, by all of its servers: their order, their ids, and what they did to rows.

The one row of `last_write` is locked by every transaction that writes, so that writes have one order.
`writes` tells whether a COMMIT without an answer took place, and whether the database has lost what was
acknowledged. `changes` is what the indexes in memory of other servers lack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg.errors import UndefinedTable

from diptych.adapters.postgres import servers
from diptych.adapters.postgres.connection import PostgresConnection
from diptych.adapters.sqlite.catalogue import uncounted
from diptych.adapters.sqlite.rollouts import read_served
from diptych.core.collections.stored.peers import News, RowChange

N_KEPT = 5_000  # writes; a server that is further behind reads its collections anew
PRUNE_EVERY = 100
_SWITCHED = (0, "switched", 0)

TABLES = (
    # `folder`: the one with the originals; `generation`: raised when other versions serve; `number`, `id`: of
    # the last write.
    """CREATE TABLE last_write (
        folder TEXT NOT NULL, number BIGINT NOT NULL, id TEXT NOT NULL, generation BIGINT NOT NULL
    )""",
    "CREATE TABLE writes (number BIGINT PRIMARY KEY, id TEXT NOT NULL, server TEXT NOT NULL)",
    # `kind`: that of `RowChange`, or "switched" of collection 0; `identity` is 0 but for vectors.
    """CREATE TABLE changes (
        number BIGINT NOT NULL, collection BIGINT NOT NULL, kind TEXT NOT NULL, identity BIGINT NOT NULL,
        keys BIGINT[] NOT NULL, PRIMARY KEY (number, collection, kind, identity)
    )""",
    "INSERT INTO writes (number, id, server) VALUES (0, '', '')",
)


@dataclass(frozen=True)
class LastWrite:
    """The last write of a database, or the last one that a server knows."""

    number: int = 0
    id: str = ""
    generation: int = 0


def last_write(db: PostgresConnection, *, locked: bool = False) -> LastWrite:
    """The last write. `locked`: no other transaction writes until this one has ended.

    Raises UndefinedTable also while the table has no row yet, as while a dump is restored.
    """
    query = "SELECT number, id, generation FROM last_write"
    alone = f"{query} WHERE {servers.MAY_WRITE} FOR UPDATE"
    found = db.execute(alone if locked else query).fetchone()
    if found is None:
        raise UndefinedTable("last_write has no row")
    return LastWrite(*found)


def has_lost(db: PostgresConnection, known: LastWrite, last: LastWrite) -> bool:
    """Whether the database lacks a write that was known to have taken place."""
    if last.number == known.number:
        return last.id != known.id
    query = "SELECT 1 FROM writes WHERE number = ? AND id = ?"
    there = db.execute(query, (known.number, known.id)).fetchone()
    return last.number < known.number or (there is None and last.number < known.number + N_KEPT)


def has_write(db: PostgresConnection, number: int, id: str) -> bool:
    """Whether a write is among the last ones of the database."""
    query = (
        "SELECT 1 FROM writes WHERE number = ?1 AND id = ?2"
        " UNION ALL SELECT 1 FROM last_write WHERE number = ?1 AND id = ?2"
    )
    return db.execute(query, (number, id)).fetchone() is not None


def note(
    db: PostgresConnection,
    c: int,
    kind: Literal["added", "embedded", "removed"],
    keys: Sequence[int],
    identity: int = 0,
) -> None:
    """Note what the running transaction does to rows, for `flush`."""
    db.changes.setdefault((c, kind, identity), []).extend(keys)


def switch(db: PostgresConnection) -> None:
    """Raise the generation, once in the running transaction: other versions serve from then on."""
    if _SWITCHED not in db.changes:
        db.changes[_SWITCHED] = []
        db.execute("UPDATE last_write SET generation = generation + 1")


def flush(db: PostgresConnection, number: int, id: str, server: str) -> LastWrite:
    """Write the number and id of the running transaction, and what was noted; return the write."""
    statement = (
        "WITH noted AS (INSERT INTO writes (number, id, server) VALUES (?1, ?2, ?3))"
        " UPDATE last_write SET number = ?1, id = ?2 RETURNING number, id, generation"
    )
    own = LastWrite(*(db.execute(statement, (number, id, server)).fetchone() or ()))
    if db.changes:
        db.executemany(
            "INSERT INTO changes (number, collection, kind, identity, keys) VALUES (?, ?, ?, ?, ?)",
            [(number, c, kind, identity, keys) for (c, kind, identity), keys in db.changes.items()],
        )
        db.changes.clear()
    if number % PRUNE_EVERY == 0:
        for table in ("writes", "changes"):
            db.execute(f"DELETE FROM {table} WHERE number <= ?", (number - N_KEPT,))  # noqa: S608 - constants
    return own


def again(db: PostgresConnection, own: LastWrite) -> bool:
    """Whether a write took place. Its COMMIT may lack on a standby, so that something is written, whose
    COMMIT waits for both.
    """
    query = "SELECT 1 FROM writes WHERE number = ? AND id = ?"
    if db.execute(query, (own.number, own.id)).fetchone() is None:
        return False
    db.execute("UPDATE last_write SET number = number")
    return True


def news_since(db: PostgresConnection, known: LastWrite, last: LastWrite, server: str) -> News:
    """What other servers than this one wrote after the last write that it knows, up to the last of all."""
    span = (known.number, last.number, server)
    of_others = "SELECT number FROM writes WHERE number > ? AND number <= ? AND server <> ?"
    numbers = {number for (number,) in db.execute(of_others, span)}
    (oldest,) = db.execute("SELECT min(number) FROM writes").fetchone() or (None,)
    query = (
        "SELECT w.number, collection, kind, i.identity, keys FROM changes JOIN writes w USING (number)"
        " LEFT JOIN identities i ON i.number = changes.identity"
        " WHERE w.number > ? AND w.number <= ? AND server <> ? ORDER BY w.number, kind"
    )
    rows = db.execute(query, span).fetchall()
    changes = [RowChange(*row) for row in rows if row[2] != "switched"]
    only_adds = numbers <= {one.write for one in changes} and all(one.kind == "added" for one in changes)
    is_whole = known.number == last.number or (oldest is not None and oldest <= known.number + 1)
    switched = max((row[0] for row in rows if row[2] == "switched"), default=last.number)
    serving = read_served(db)
    return News(
        *(last.number, last.id, last.generation, uncounted(db), changes),
        only_adds=only_adds,
        is_whole=is_whole,
        switched=None if last.generation == known.generation else switched,
        active=None if serving is None else serving.active,
    )
