"""Stores the served version and the rollouts, in the database of the collections."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import json
from collections.abc import Iterable, Mapping
from typing import Any

from diptych.adapters.sql.connection import Connection, Threads
from diptych.adapters.sqlite.catalogue import move_collection
from diptych.bundle.image.preprocess import DecodeMode
from diptych.core.rollout.types import FINAL_STATES, CollectionMove, Rollout, ServedVersions
from diptych.core.types import Target, VersionRef
from diptych.errors import Conflict

MAX_ENDED = 100  # rollouts that have ended, beyond which they are forgotten
MAX_TRIED = 1_000  # versions whose newest rollout is kept, as a record that they were tried
_COLUMNS = (
    "id", "model", "version", "bundle", "precision", "decode", "state", "created_at", "reason",
    "finished_at", "stays", "comparison", "despite_labels",
)  # fmt: skip
_ROLLOUT = ", ".join(_COLUMNS)
_ENDED = f"state IN ({', '.join('?' * len(FINAL_STATES))})"


class SqlRollouts:
    """Satisfies `diptych.core.rollout.ports.RolloutStore`."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def served(self) -> ServedVersions | None:
        """The version that served last; None in a new data folder."""
        return await self._threads.read(read_served)

    def served_now(self) -> ServedVersions | None:
        """As `served`, but blocking."""
        return self._threads.read_now(read_served)

    async def switch(
        self, served: ServedVersions | None, moves: Mapping[int, CollectionMove], rollout: Rollout
    ) -> None:
        """Set what serves (None keeps it), move collections, by number, and store the rollout that did it, in
        one transaction. Raises NotFound for a collection, SwitchRefused while other servers are not ready,
        Conflict for a rollout that has ended, and changes nothing then.
        """

        def work(db: Connection) -> None:
            _require_open(db, rollout.id)
            if served is not None:
                _set_served(db, served, rollout.id)
            for c, move in moves.items():
                move_collection(db, c, move.target, move.identity, rollout.id)
            _put(db, rollout)

        await self._threads.write(work, step="switch_commit")

    async def configured_model(self) -> str | None:
        """The name that the settings gave at the last start that was given one."""
        query = "SELECT model FROM serving WHERE role = 'asked'"
        row = await self._threads.read(lambda db: db.execute(query).fetchone())
        return None if row is None else str(row[0])

    async def set_configured_model(self, name: str) -> None:
        """Remember the name that the settings give."""
        statement = (
            "INSERT INTO serving (role, model, version, bundle) VALUES ('asked', ?, 0, '')"
            " ON CONFLICT (role) DO UPDATE SET model = excluded.model"
        )

        def work(db: Connection) -> None:
            db.execute(statement, (name,))

        await self._threads.write(work)

    async def put_rollout(self, rollout: Rollout) -> None:
        """Store a rollout, or replace the one of the same id, unless that has ended; forget old ones that
        have ended.
        """
        await self._threads.write(
            lambda db: _put(db, rollout), step="rollout_commit", makes_room=rollout.has_ended
        )

    async def rollouts(self, limit: int) -> list[Rollout]:
        """The newest rollouts, newest first."""
        query = f"SELECT {_ROLLOUT} FROM rollouts ORDER BY rowid DESC LIMIT ?"
        return await self._threads.read(lambda db: [_rollout(row) for row in db.execute(query, (limit,))])


def read_served(db: Connection) -> ServedVersions | None:
    """The version that served last; None in a new database."""
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


def _require_open(db: Connection, id: str) -> None:
    """Raise Conflict if a rollout has ended without a switch, as it was cancelled on another server."""
    query = "SELECT state FROM rollouts WHERE id = ? AND state IN ('failed', 'cancelled')"
    if (found := db.execute(query, (id,)).fetchone()) is not None:
        raise Conflict(f"rollout {id} has ended: it is {found[0]}")


def _set_served(db: Connection, served: ServedVersions, rollout: str) -> None:
    before = read_served(db)
    if before == served:
        return
    if before is not None:
        db.dialect.begin_switch(db, rollout)
    targets = {"active": served.active, "previous": served.previous}
    rows = [(role, *_columns(one), served.wanted) for role, one in targets.items() if one is not None]
    db.execute("DELETE FROM serving WHERE role IN ('active', 'previous')")
    db.executemany(
        "INSERT INTO serving (role, model, version, bundle, precision, decode, wanted)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def _put(db: Connection, rollout: Rollout) -> None:
    changes = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS)
    db.execute(
        f"INSERT INTO rollouts ({_ROLLOUT}) VALUES ({', '.join('?' * len(_COLUMNS))})"
        f" ON CONFLICT (id) DO UPDATE SET {changes} WHERE NOT rollouts.{_ENDED}",
        (*_row(rollout), *FINAL_STATES),
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
        rollout.despite_labels,
    )


def _rollout(row: Iterable[Any]) -> Rollout:
    id, name, version, bundle, precision, decode, state, created_at, reason, ended, *rest = row
    stays, found, despite_labels = rest
    return Rollout(
        id=id,
        target=_target(name, version, bundle, precision, decode),
        state=state,
        created_at=created_at,
        reason=reason,
        finished_at=ended,
        stays=json.loads(stays),
        comparison=None if found is None else json.loads(found),
        despite_labels=bool(despite_labels),
    )
