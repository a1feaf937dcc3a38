"""The servers that use a database: the session of each that writes holds a lock as long as it lives.

A server alone takes the lock for itself. Servers with common originals share it. Those that only read share
a lock of their own: they lead nothing, and nothing waits for them. A third lock is that of all writes: each
of them shares it, until one server takes it for itself, to write alone.
"""

from collections.abc import Sequence

from diptych.adapters.postgres.connection import PostgresConnection

_KEY = "hashtext('diptych'), hashtext(current_schema())"
_READERS = "hashtext('diptych readers'), hashtext(current_schema())"
_WRITES = "hashtext('diptych writes'), hashtext(current_schema())"
# The condition of a query that waits until no other server writes alone.
MAY_WRITE = f"pg_advisory_xact_lock_shared({_WRITES}) IS NOT NULL"
_HOLDERS_OF_ONE = (
    " FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) WHERE locktype = 'advisory' AND granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND objid::bigint = hashtext(current_schema())::bigint & 4294967295 AND objsubid = 2"
)
HOLDERS = f"{_HOLDERS_OF_ONE} AND classid::bigint = hashtext('diptych')::bigint & 4294967295"
_HOLDERS_AND_READERS = (
    f"{_HOLDERS_OF_ONE} AND classid::bigint IN (hashtext('diptych')::bigint & 4294967295,"
    " hashtext('diptych readers')::bigint & 4294967295)"
)
IN_ORDER = " ORDER BY backend_start NULLS LAST, pid"
_STARTED = "to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
_SERVER = "split_part(application_name, ' at ', 1)"  # without what `show` adds
NAME = f"coalesce({_SERVER}, 'unknown') || coalesce(', since ' || {_STARTED} || ' UTC', '')"


def lock(db: PostgresConnection, *, shared: bool, reads_only: bool = False) -> bool:
    """Take the lock for this session, alone or with others that share it; False if others are in the way.

    `reads_only`: that of the servers that only read. A server alone takes both.
    """
    if shared:
        return _try(db, f"pg_try_advisory_lock_shared({_READERS if reads_only else _KEY})")
    if not _try(db, f"pg_try_advisory_lock({_KEY})"):
        return False
    if _try(db, f"pg_try_advisory_lock({_READERS})"):
        return True
    db.execute(f"SELECT pg_advisory_unlock({_KEY})")
    return False


def show(db: PostgresConnection, name: str, write: int) -> None:
    """Show in `pg_stat_activity` which write this server knows, unless its name is the operator's own."""
    db.execute(
        "SELECT set_config('application_name', ?, false)"
        " WHERE starts_with(current_setting('application_name'), ?)",
        (f"{name} at {write}", name),
    )


def stop_writes(db: PostgresConnection) -> None:
    """Wait until no other server writes; none does from then on, until `go_on`, or the end of the session."""
    db.execute(f"SELECT pg_advisory_lock({_WRITES})")
    db.is_alone = True


def go_on(db: PostgresConnection) -> None:
    """Let other servers write again."""
    db.is_alone = False
    db.execute(f"SELECT pg_advisory_unlock({_WRITES})")


def lock_schema(db: PostgresConnection) -> None:
    """Wait until no other server makes or converts the tables, for the running transaction."""
    db.execute("SELECT pg_advisory_xact_lock(hashtext('diptych schema'), hashtext(current_schema()))")


def others(db: PostgresConnection) -> list[str]:
    """The names of the other sessions that hold a lock, readers too, for the session that holds one."""
    query = f"SELECT DISTINCT {NAME}{_HOLDERS_AND_READERS} AND l.pid <> ?"
    return sorted(str(name) for (name,) in db.execute(query, (db.raw.info.backend_pid,)))


def others_of(db: PostgresConnection, pid: int) -> list[str]:
    """The names of the sessions that hold the lock of those that write, but for one; the oldest first."""
    query = f"SELECT {NAME}{HOLDERS} AND l.pid <> ?{IN_ORDER}"
    return [str(name) for (name,) in db.execute(query, (pid,))]


def is_oldest(db: PostgresConnection, pid: int) -> bool:
    """Whether a session is the oldest of those that hold the lock."""
    first = db.execute(f"SELECT pid{HOLDERS}{IN_ORDER} LIMIT 1").fetchone()
    return first is not None and first[0] == pid


def stop_first(others: Sequence[str]) -> str:
    """What to do before one server can change what all of them use."""
    return (
        f"other servers use the database ({'; '.join(others)}): stop them first, and start them again when "
        "this one has done it"
    )


def _try(db: PostgresConnection, lock: str) -> bool:
    (is_taken,) = db.execute(f"SELECT {lock}").fetchone() or (False,)
    return bool(is_taken)
