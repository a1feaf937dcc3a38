"""Runs the statements of `adapters.sqlite` on a connection to PostgreSQL."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import FloatDumper

from diptych.adapters.sql.connection import Dialect
from diptych.adapters.sql.rows import ONE_OF
from diptych.errors import ConfigError

# A killed server's statement ends within a second, and a network that is gone is noticed, on both sides.
_OPTIONS = (
    "-c client_connection_check_interval=1s -c lock_timeout=10s"
    " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# A stronger setting, such as remote_apply, stays.
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
_READS_ONLY = "SET default_transaction_read_only = on"  # as an option, it contradicts target_session_attrs
_WITH_WARNINGS = "SET client_min_messages = warning"  # see `is_unreplicated`
_WAITS_FOR_STANDBYS = "syncrep.c"  # the source file of PostgreSQL; it warns of cancelled waits alone
_PORTS = re.compile(r"[0-9,]*")
_PLACEHOLDER = re.compile(r"\?(\d*)")
_TEXT_AS_BYTES = re.compile(r"CAST\(([\w.]+) AS BLOB\)")

Raw = psycopg.Connection[tuple[Any, ...]]


class _BoolAsInteger(Dumper):
    """Booleans are stored as integers, as in SQLite."""

    oid = psycopg.postgres.types["int8"].oid

    def dump(self, obj: Any) -> bytes:
        return b"1" if obj else b"0"


class _UntypedFloat(FloatDumper):
    """The database would round a float for a column of integers; so it refuses one."""

    oid = 0


class _PlainNumber(Loader):
    """Sums of integers, which PostgreSQL returns as numeric."""

    def load(self, data: Any) -> int | float:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


class PostgresConnection:
    """Satisfies `adapters.sql.connection.Connection`."""

    def __init__(self, raw: Raw, dialect: Dialect) -> None:
        self.raw, self.dialect = raw, dialect
        self.is_unreplicated = False  # the wait of a COMMIT for a synchronous standby was cancelled
        self.is_alone = False  # no other server writes, see `servers.stop_writes`
        self.is_behind = False  # another server has switched versions, which this one does not know
        self.knows_all = False  # this server knows all writes before the running transaction
        self.tables = set[str]()  # of vectors, which are known to exist
        # By table and key, what `vector_tables.flush` writes at once: each row would wait for its answer.
        self.vectors = dict[str, dict[int, tuple[int, bytes, int, int]]]()
        self.changes = dict[tuple[int, str, int], list[int]]()  # see `writes.note`
        raw.add_notice_handler(self._on_notice)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Run one statement of SQLite's language."""
        translated, is_numbered = _translated(statement)
        return self.raw.execute(translated, _numbered(parameters) if is_numbered else parameters)

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of the parameters."""
        translated, is_numbered = _translated(statement)
        with self.raw.cursor() as cursor:
            cursor.executemany(translated, map(_numbered, parameters) if is_numbered else parameters)

    def _on_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.source_file == _WAITS_FOR_STANDBYS:
            self.is_unreplicated = True


def connect(
    url: str, application_name: str, dialect: Dialect, *, reads_only: bool = False
) -> PostgresConnection:
    """Open a connection, blocking. What the URL says wins over our defaults. Raises psycopg.Error.

    `reads_only`: the database refuses every write.
    """
    given = _parsed(url)
    options = f"{_OPTIONS} {given.pop('options', '')}"
    values = {**_DEFAULTS, "application_name": application_name, **given, "options": options}
    values["client_encoding"] = "UTF8"
    raw = psycopg.connect(make_conninfo(**values), autocommit=True)
    raw.adapters.register_dumper(bool, _BoolAsInteger)
    raw.adapters.register_dumper(float, _UntypedFloat)
    raw.adapters.register_loader("numeric", _PlainNumber)
    raw.execute(_DURABLE)
    raw.execute(_WITH_WARNINGS)
    if reads_only:
        raw.execute(_READS_ONLY)
    return PostgresConnection(raw, dialect)


def described(url: str) -> str:
    """The database and its host, without user and password. Raises ConfigError for a malformed URL."""
    given = _parsed(url)
    host = given.get("host") or given.get("hostaddr") or "the local socket"
    return f"{given.get('dbname') or given.get('user') or 'of this user'} on {host}"


def _parsed(url: str) -> dict[str, Any]:
    """The parts of a URL. Parts of a password with `/` or `@` would be taken for others, and be shown."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        given = {"port": "malformed"}
    is_whole = all("@" not in str(given.get(part) or "") for part in ("host", "dbname"))
    if not (is_whole and _PORTS.fullmatch(str(given.get("port") or ""))):
        raise ConfigError(
            "DIPTYCH_STORE is malformed: it must be postgresql://USER@HOST:PORT/NAME?OPTION=VALUE with "
            "options of libpq; characters such as @ / : # % in a password are written as %40 %2F %3A %23 %25"
        )
    return given


@lru_cache(maxsize=1_000)
def _translated(statement: str) -> tuple[Any, bool]:
    """The statement for psycopg, and whether its parameters are numbered."""
    text = statement.replace(ONE_OF, "= ANY(?)").replace("%", "%%")
    text = _TEXT_AS_BYTES.sub(r"convert_to(\1, 'UTF8')", text)
    is_numbered = any(number for number in _PLACEHOLDER.findall(text))
    return _PLACEHOLDER.sub(r"%(p\1)s" if is_numbered else "%s", text), is_numbered


def _numbered(parameters: Sequence[Any]) -> dict[str, Any]:
    return {f"p{n}": value for n, value in enumerate(parameters, 1)}
