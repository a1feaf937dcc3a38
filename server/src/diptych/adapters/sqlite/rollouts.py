"""What serves, and the rollouts, in the database of the collections."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from diptych.adapters.sqlite import rows as sql
from diptych.adapters.sqlite.collections import move as move_collection
from diptych.adapters.sqlite.threads import SqliteThreads
from diptych.bundle.image.preprocess import DecodeMode
from diptych.core.rollout.types import FINAL_STATES, CollectionMove, Rollout, ServedVersions
from diptych.core.types import Target, VersionRef

MAX_ENDED = 100  # rollouts that have ended, beyond which they are forgotten
MAX_TRIED = 1_000  # versions whose newest rollout is kept, which tells that they were tried
_COLUMNS = (
    "id", "model", "version", "bundle", "precision", "decode", "state", "created_at", "reason",
    "finished_at", "stays", "comparison",
)  # fmt: skip
_ROLLOUT = ", ".join(_COLUMNS)
_ENDED = f"state IN ({', '.join('?' * len(FINAL_STATES))})"


class SqliteRollouts:
    """Satisfies `diptych.core.rollout.ports.RolloutStore`."""

    def __init__(self, threads: SqliteThreads) -> None:
        self._threads = threads
        self._seen: dict[int, int] = {}  # by collection, the last key that `forget_vectors` looked at

    async def served(self) -> ServedVersions | None:
        """What served last; None in a new data folder."""
        return await self._threads.read(_served)

    def served_now(self) -> ServedVersions | None:
        """As `served`, but blocking."""
        return self._threads.read_now(_served)

    async def switch(self, served: ServedVersions | None, moves: Mapping[int, CollectionMove]) -> None:
        """Set what serves (None keeps it) and move collections, by number, in one transaction.

        Raises NotFound for a collection, and changes nothing then.
        """

        def work(db: sqlite3.Connection) -> None:
            if served is not None:
                _set_served(db, served)
            for c, move in moves.items():
                move_collection(db, c, move.target, move.identity)

        await self._threads.write(work, step="switch_commit")

    async def forget_vectors(self, c: int, max_rows: int, *, keep: Sequence[str] = ()) -> int:
        """Delete at most `max_rows` vectors of identities that are not current, previous, or in `keep`.

        Returns how many were deleted; 0 when none is left. A call goes on where the last one ended.
        """
        found: list[tuple[int, int]] = []
        while not found:
            after_key = self._seen.pop(c, 0)
            find = partial(_unused_vectors, c=c, keep=keep, after_key=after_key, limit=max_rows)
            found = await self._threads.read(find)
            if not found and after_key == 0:
                return 0
        self._seen[c] = found[-1][0] - 1  # its last image may have more of them
        delete = partial(_delete_vectors, c=c, keep=keep, vectors=found)
        return await self._threads.write(delete, step="forget_commit", makes_room=True)

    async def asked_model(self) -> str | None:
        """The name that the settings gave at the last start that was given one."""
        query = "SELECT model FROM serving WHERE role = 'asked'"
        row = await self._threads.read(lambda db: db.execute(query).fetchone())
        return None if row is None else str(row[0])

    async def set_asked_model(self, name: str) -> None:
        """Remember the name that the settings give."""
        statement = "INSERT OR REPLACE INTO serving (role, model, version, bundle) VALUES ('asked', ?, 0, '')"

        def work(db: sqlite3.Connection) -> None:
            db.execute(statement, (name,))

        await self._threads.write(work)

    async def put_rollout(self, rollout: Rollout) -> None:
        """Store a rollout, or replace the one of the same id; forget old ones that have ended."""
        await self._threads.write(
            lambda db: _put(db, rollout), step="rollout_commit", makes_room=rollout.has_ended
        )

    async def rollouts(self, limit: int) -> list[Rollout]:
        """The newest rollouts, newest first."""
        query = f"SELECT {_ROLLOUT} FROM rollouts ORDER BY rowid DESC LIMIT ?"
        return await self._threads.read(lambda db: [_rollout(row) for row in db.execute(query, (limit,))])


def _served(db: sqlite3.Connection) -> ServedVersions | None:
    rows = db.execute(
        "SELECT role, model, version, bundle, precision, decode, wanted FROM serving"
        " WHERE role IN ('active', 'previous')"
    ).fetchall()
    targets = {role: _target(*target) for role, *target, _ in rows}
    wanted = {role: wanted for role, *_, wanted in rows}
    if "active" not in targets:
        return None
    return ServedVersions(targets["active"], targets.get("previous"), wanted["active"])


def _target(name: str, version: int, bundle: str, precision: str, decode: DecodeMode) -> Target:
    return Target(VersionRef(name, version, bundle), precision, decode)


def _columns(target: Target) -> tuple[str, int, str, str, str]:
    ref = target.ref
    return ref.name, ref.version, ref.bundle, target.precision, target.decode


def _set_served(db: sqlite3.Connection, served: ServedVersions) -> None:
    targets = {"active": served.active, "previous": served.previous}
    rows = [(role, *_columns(one), served.wanted) for role, one in targets.items() if one is not None]
    db.execute("DELETE FROM serving WHERE role IN ('active', 'previous')")
    db.executemany(
        "INSERT INTO serving (role, model, version, bundle, precision, decode, wanted)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def _unused_vectors(
    db: sqlite3.Connection, c: int, keep: Sequence[str], after_key: int, limit: int
) -> list[tuple[int, int]]:
    """Key and identity of vectors that nothing needs, of images above a key, ascending."""
    query = (
        "SELECT e.key, e.identity FROM images i JOIN embeddings e ON e.key = i.key"
        " WHERE i.collection = ? AND i.key > ? AND e.identity NOT IN (SELECT value FROM json_each(?))"
        " ORDER BY i.key LIMIT ?"
    )
    kept = _kept_identities(db, c, keep)
    if not kept:
        return []
    return db.execute(query, (c, after_key, json.dumps(kept), limit)).fetchall()


def _delete_vectors(
    db: sqlite3.Connection, c: int, keep: Sequence[str], vectors: Sequence[tuple[int, int]]
) -> int:
    """Delete vectors, unless a switch has made them needed meanwhile."""
    kept = _kept_identities(db, c, keep)
    unused = [(key, identity) for key, identity in vectors if kept and identity not in kept]
    db.executemany("DELETE FROM embeddings WHERE key = ? AND identity = ?", unused)
    return len(unused)


def _kept_identities(db: sqlite3.Connection, c: int, keep: Sequence[str]) -> list[int]:
    """The numbers of the identities that a collection needs; empty if it has none, or if it is gone."""
    query = "SELECT identity, previous_identity FROM collections WHERE number = ? AND identity IS NOT NULL"
    own = db.execute(query, (c,)).fetchone()
    if own is None:
        return []
    numbers = [*own, *(sql.identity_number(db, identity) for identity in keep)]
    return [number for number in numbers if number is not None]


def _put(db: sqlite3.Connection, rollout: Rollout) -> None:
    changes = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS)
    db.execute(
        f"INSERT INTO rollouts ({_ROLLOUT}) VALUES ({', '.join('?' * len(_COLUMNS))})"
        f" ON CONFLICT (id) DO UPDATE SET {changes}",
        _row(rollout),
    )
    newest = f"SELECT rowid FROM rollouts WHERE {_ENDED} ORDER BY rowid DESC LIMIT ?"
    tried = (
        f"SELECT max(rowid) FROM rollouts WHERE {_ENDED}"
        " GROUP BY model, version, bundle ORDER BY 1 DESC LIMIT ?"
    )
    db.execute(
        f"DELETE FROM rollouts WHERE {_ENDED} AND rowid NOT IN ({newest}) AND rowid NOT IN ({tried})",
        (*FINAL_STATES, *FINAL_STATES, MAX_ENDED, *FINAL_STATES, MAX_TRIED),
    )


def _row(rollout: Rollout) -> tuple[Any, ...]:
    comparison = rollout.comparison
    return (
        rollout.id,
        *_columns(rollout.target),
        rollout.state,
        rollout.created_at,
        rollout.reason,
        rollout.finished_at,
        json.dumps(dict(rollout.stays)),
        None if comparison is None else json.dumps(dict(comparison)),
    )


def _rollout(row: Iterable[Any]) -> Rollout:
    id, name, version, bundle, precision, decode, state, created_at, reason, ended, stays, found = row
    return Rollout(
        id=id,
        target=_target(name, version, bundle, precision, decode),
        state=state,
        created_at=created_at,
        reason=reason,
        finished_at=ended,
        stays=json.loads(stays),
        comparison=None if found is None else json.loads(found),
    )
