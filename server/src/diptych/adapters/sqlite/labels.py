"""Label sets and verdicts, in the database of the collections."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import builtins
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from diptych.adapters.sql.connection import Connection, Threads
from diptych.adapters.sql.rows import now
from diptych.adapters.sqlite.records import find_key, of_collection, require_collection
from diptych.core.labels.label_set import (
    MAX_SETS,
    Definition,
    GivenVerdict,
    LabelSet,
    NewVerdict,
    Statement,
    Verdict,
    set_not_found,
)
from diptych.core.labels.ports import Given, Reviewed
from diptych.errors import Conflict, NotFound, TooLarge

_SETS = "SELECT number, name, definition, revision, changed_at FROM label_sets WHERE collection = ?"
_COLUMNS = "labels, given_by, given_at, sha256, drawn, before"


class SqlLabels:
    """Satisfies `diptych.core.labels.ports.LabelRows`."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def list(self, c: int) -> builtins.list[LabelSet]:
        """All sets of a collection, by name. Raises NotFound for the collection."""
        query = f"{_SETS} ORDER BY name"
        return await self._threads.read(
            of_collection(c, lambda db: [_set(*row) for row in db.execute(query, (c,))])
        )

    async def put(self, c: int, name: str, definition: Definition, *, drops: bool) -> tuple[LabelSet, int]:
        """Create or change a set; return it and the number of verdicts that were deleted.

        Raises NotFound for the collection; Conflict, TooLarge.
        """
        return await self._threads.write(lambda db: _put(db, c, name, definition, drops=drops))

    async def drop(self, c: int, name: str) -> None:
        """Delete a set with its verdicts. Raises NotFound."""

        def work(db: Connection) -> None:
            db.execute("DELETE FROM label_sets WHERE number = ?", (_find(db, c, name).number,))

        await self._threads.write(work, makes_room=True)

    async def reviewed(self, c: int, name: str) -> Reviewed:
        """One set with its verdicts, of one time: its definition allows all of them. Raises NotFound."""
        columns = ", ".join(f"v.{name}" for name in _COLUMNS.split(", "))
        query = (
            f"SELECT i.key, {columns} FROM verdicts v"
            " JOIN images i ON i.sha256 = v.sha256 AND +i.collection = ?"
            " WHERE v.label_set = ? ORDER BY i.key"
        )

        def work(db: Connection) -> Reviewed:
            label_set = _find(db, c, name)
            verdicts = {key: _verdict(*row) for key, *row in db.execute(query, (c, label_set.number))}
            lapsed = _lapsed(db, c, label_set.number)
            return Reviewed(label_set, verdicts, len(lapsed))

        return await self._threads.read(work)

    async def give(self, c: int, name: str, verdicts: Sequence[NewVerdict], by: str) -> Given:
        """Store verdicts, all or none. Raises NotFound for the set, InvalidValue for a label."""

        def work(db: Connection) -> Given:
            label_set, given = _find(db, c, name), Given([], [], [])
            for i, one in enumerate(verdicts):
                label_set.definition.check_labels(one.labels, f"verdicts[{i}]")
                sha256 = _sha256(db, c, one.id)
                if sha256 is None:
                    given.unknown.append(one.id)
                elif one.sha256 not in (None, sha256):
                    given.replaced.append(one.id)
                else:
                    before = _verdict_of(db, label_set.number, sha256)
                    said = Verdict(one.labels, by, now(), sha256, one.is_drawn)
                    _store(db, label_set.number, said.in_place_of(before))
                    given.verdicts.append(GivenVerdict(one.id, one.labels, before))
            return given

        return await self._threads.write(work)

    async def withdraw(self, c: int, name: str, id: str) -> Verdict:
        """Withdraw the verdict on an image and return it. Raises NotFound."""

        def work(db: Connection) -> Verdict:
            label_set = _find(db, c, name)
            find_key(db, c, id)
            sha256 = _sha256(db, c, id) or ""
            found = _verdict_of(db, label_set.number, sha256)
            if found is None:
                raise NotFound(f"label set {name!r} has no verdict on image {id[:140]!r}")
            _replace(db, label_set.number, sha256, found.withdrawn())
            return found

        return await self._threads.write(work, makes_room=True)


def clear_labels(db: Connection, c: int, limit: int, *, all_of_it: bool) -> None:
    """Delete at most `limit` verdicts of a dropped collection, or `all_of_it` with its sets."""
    db.execute(
        "DELETE FROM verdicts WHERE (label_set, sha256) IN (SELECT label_set, sha256 FROM verdicts"
        " WHERE label_set IN (SELECT number FROM label_sets WHERE collection = ?) LIMIT ?)",
        (c, limit),
    )
    if all_of_it:
        db.execute("DELETE FROM label_sets WHERE collection = ?", (c,))


def _put(db: Connection, c: int, name: str, definition: Definition, *, drops: bool) -> tuple[LabelSet, int]:
    require_collection(db, c)
    found = db.execute(f"{_SETS} AND name = ?", (c, name)).fetchone()
    if found is None:
        (n_sets,) = db.execute("SELECT count(*) FROM label_sets WHERE collection = ?", (c,)).fetchone()
        if n_sets >= MAX_SETS:
            raise TooLarge(f"the collection has {n_sets} label sets, the limit is {MAX_SETS}")
        db.execute(
            "INSERT INTO label_sets (collection, name, definition, revision, changed_at)"
            " VALUES (?, ?, ?, 1, ?)",
            (c, name, definition.to_json(), now()),
        )
        return _find(db, c, name), 0
    before = _set(*found)
    if before.definition == definition:
        return before, 0
    query = f"SELECT {_COLUMNS} FROM verdicts WHERE label_set = ?"
    verdicts = [_verdict(*row) for row in db.execute(query, (before.number,))]
    lost = [one.sha256 for one in verdicts if not definition.allows(one.labels)]
    if lost and not drops:
        n_gone = len(_lapsed(db, c, before.number).intersection(lost))
        gone = f" ({n_gone} on pictures that are gone)" if n_gone else ""
        raise Conflict(
            f"the new definition does not allow {len(lost)} of the verdicts of label set {name!r}{gone}: "
            "keep their labels, or send drop_verdicts to delete them"
        )
    for one in verdicts:
        if (left := one.within(definition)) != one:
            _replace(db, before.number, one.sha256, left)
    db.execute(
        "UPDATE label_sets SET definition = ?, revision = revision + 1, changed_at = ? WHERE number = ?",
        (definition.to_json(), now(), before.number),
    )
    return _find(db, c, name), len(lost)


def _find(db: Connection, c: int, name: str) -> LabelSet:
    require_collection(db, c)
    found = db.execute(f"{_SETS} AND name = ?", (c, name)).fetchone()
    if found is None:
        raise set_not_found(name)
    return _set(*found)


def _set(number: int, name: str, definition: str, revision: int, changed_at: str) -> LabelSet:
    return LabelSet(number, name, Definition.from_json(definition), revision, changed_at)


def _lapsed(db: Connection, c: int, set_number: int) -> set[str]:
    """The sha256 of pictures with a verdict that no image has."""
    query = (
        "SELECT sha256 FROM verdicts v WHERE label_set = ? AND NOT EXISTS"
        " (SELECT 1 FROM images i WHERE i.sha256 = v.sha256 AND +i.collection = ?)"
    )
    return {sha256 for (sha256,) in db.execute(query, (set_number, c))}


def _sha256(db: Connection, c: int, id: str) -> str | None:
    row = db.execute("SELECT sha256 FROM images WHERE collection = ? AND id = ?", (c, id)).fetchone()
    return None if row is None else str(row[0])


def _verdict_of(db: Connection, set_number: int, sha256: str) -> Verdict | None:
    query = f"SELECT {_COLUMNS} FROM verdicts WHERE label_set = ? AND sha256 = ?"
    row = db.execute(query, (set_number, sha256)).fetchone()
    return None if row is None else _verdict(*row)


def _verdict(labels: str, by: str, at: str, sha256: str, *more: Any) -> Verdict:
    drawn, before = more
    former = _statement(None if before is None else json.loads(before))
    return Verdict(tuple(json.loads(labels)), by, at, sha256, bool(drawn), former=former)


def _statement(fields: dict[str, Any] | None) -> Statement | None:
    if fields is None:
        return None
    former = _statement(fields.get("former"))
    return Statement(tuple(fields["labels"]), fields["by"], fields["at"], former=former)


def _replace(db: Connection, set_number: int, sha256: str, verdict: Verdict | None) -> None:
    """Store a verdict in the place of another one, or delete that."""
    if verdict is None:
        db.execute("DELETE FROM verdicts WHERE label_set = ? AND sha256 = ?", (set_number, sha256))
    else:
        _store(db, set_number, verdict)


def _store(db: Connection, set_number: int, verdict: Verdict) -> None:
    db.execute(
        f"INSERT INTO verdicts (label_set, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (label_set, sha256) DO UPDATE SET labels = excluded.labels,"
        " given_by = excluded.given_by, given_at = excluded.given_at, before = excluded.before",
        # Whether it was drawn is known from the first verdict alone.
        (
            set_number,
            _json(verdict.labels),
            verdict.by,
            verdict.at,
            verdict.sha256,
            verdict.is_drawn,
            None if verdict.former is None else _json(asdict(verdict.former)),
        ),
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
