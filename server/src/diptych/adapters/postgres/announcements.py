"""What servers say of themselves to the others of their database, as long as their session lives."""

# ruff: noqa: S608 - only constants of this package are inserted into statements

from collections.abc import Mapping

from diptych.adapters.postgres import servers
from diptych.adapters.postgres.connection import PostgresConnection
from diptych.core.collections.stored.peers import Announced

# `pid`, `started`: of the session that holds the lock of the server; so what a dead one said does not count.
TABLE = """CREATE TABLE IF NOT EXISTS announcements (
    what TEXT COLLATE "C" NOT NULL, pid BIGINT NOT NULL, started TIMESTAMPTZ NOT NULL, name TEXT NOT NULL,
    note TEXT NOT NULL, PRIMARY KEY (what, pid)
)"""
_IS_OF_SESSION = "n.pid = l.pid AND n.started = a.backend_start"


def put(db: PostgresConnection, notes: Mapping[str, str]) -> None:
    """Announce something, with a note, in the name of the session that writes."""
    db.executemany(
        f"INSERT INTO announcements (what, pid, started, name, note)"
        f" SELECT ?1, pid, backend_start, {servers.NAME}, ?2 FROM pg_stat_activity"
        " WHERE pid = pg_backend_pid() ON CONFLICT (what, pid) DO UPDATE"
        " SET started = excluded.started, name = excluded.name, note = excluded.note",
        list(notes.items()),
    )


def remove(db: PostgresConnection, what: str, *, of_all: bool = False) -> None:
    """Withdraw what this session has announced; `of_all`: what any one has."""
    own = "" if of_all else " AND pid = pg_backend_pid()"
    db.execute(f"DELETE FROM announcements WHERE what = ?{own}", (what,))


def lacking(db: PostgresConnection, what: str, pid: int) -> list[str]:
    """The other live servers that have not announced something, or with a note, which is given; the oldest
    first.
    """
    note = f"(SELECT note FROM announcements n WHERE what = ? AND {_IS_OF_SESSION})"
    query = f"SELECT {servers.NAME}, {note}{servers.HOLDERS} AND l.pid <> ?{servers.IN_ORDER}"
    found = db.execute(query, (what, pid))
    return [f"{name}: {said}" if said else str(name) for name, said in found if said != ""]


def found(db: PostgresConnection, prefix: str) -> dict[str, Announced]:
    """What begins with a prefix, by whom it was announced, and whether one of these is alive."""
    is_alive = f"bool_or(EXISTS (SELECT 1{servers.HOLDERS} AND {_IS_OF_SESSION}))"
    query = (
        f"SELECT what, max(name), {is_alive} FROM announcements n WHERE starts_with(what, ?) GROUP BY what"
    )
    return {
        str(what): Announced(str(name), bool(lives)) for what, name, lives in db.execute(query, (prefix,))
    }
