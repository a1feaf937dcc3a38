"""The tables of the database, and the migrations that bring an older file up to date."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from diptych.adapters.sqlite import checksums
from diptych.errors import CorruptStore, StoreError
from diptych.failpoints import around

BUSY_S = 30.0
MAX_IDLE_LOG_BYTES = (
    16_000_000  # a log that grew larger, as during a backup, is truncated once it is not read
)

DAMAGED_ROW = "a row of the database is damaged: `diptych check --data-dir` names its image"

# Each entry is one step, which is never changed after its release. The version is the number of applied
# steps.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE collections (
            name       TEXT PRIMARY KEY,
            model      TEXT NOT NULL,
            created_at TEXT NOT NULL
        ) STRICT""",
        # AUTOINCREMENT: a key is never reused, so that an index entry never refers to another image.
        """CREATE TABLE images (
            key        INTEGER PRIMARY KEY AUTOINCREMENT,
            collection TEXT NOT NULL REFERENCES collections (name),
            id         TEXT NOT NULL,
            sha256     TEXT NOT NULL,
            n_bytes    INTEGER NOT NULL,
            media_type TEXT NOT NULL,
            width      INTEGER NOT NULL,
            height     INTEGER NOT NULL,
            metadata   TEXT NOT NULL,
            created_at TEXT NOT NULL,
            UNIQUE (collection, id)
        ) STRICT""",
        "CREATE INDEX images_by_collection ON images (collection)",
        "CREATE INDEX images_by_sha256 ON images (sha256)",
        "CREATE TABLE identities (number INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE) STRICT",
        """CREATE TABLE embeddings (
            key       INTEGER NOT NULL REFERENCES images (key) ON DELETE CASCADE,
            identity  INTEGER NOT NULL REFERENCES identities (number),
            embedding BLOB NOT NULL,
            PRIMARY KEY (key, identity)
        ) STRICT""",
    ),
    (
        "ALTER TABLE collections ADD COLUMN keep TEXT NOT NULL DEFAULT 'original'",
        # Whether the image file is kept: a ready-made vector has no file, and a collection may keep none.
        "ALTER TABLE images ADD COLUMN kept INTEGER NOT NULL DEFAULT 1",
        # Recreated so that the index alone gives the sizes of a collection.
        "DROP INDEX images_by_collection",
        "CREATE INDEX images_by_collection ON images (collection, kept, n_bytes)",
    ),
    (
        # A job outlives its collection, so that its end can still be reported.
        """CREATE TABLE jobs (
            id          TEXT NOT NULL UNIQUE,
            collection  TEXT NOT NULL,
            replaces    INTEGER NOT NULL,
            state       TEXT NOT NULL,
            n_items     INTEGER NOT NULL,
            created_at  TEXT NOT NULL,
            finished_at TEXT,
            reason      TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE job_items (
            job      TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            number   INTEGER NOT NULL,
            at       INTEGER NOT NULL,
            n_bytes  INTEGER NOT NULL,
            id       TEXT,
            metadata TEXT,
            status   TEXT,
            error    TEXT,
            file     TEXT,
            PRIMARY KEY (job, number)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX job_items_to_do ON job_items (job, number) WHERE status IS NULL",
    ),
    (
        # Ordered by key within a collection. Without this index each chunk of embeddings sorts all remaining
        # rows, and reading a million embeddings takes minutes.
        "CREATE INDEX images_by_key ON images (collection)",
    ),
    ("ALTER TABLE collections ADD COLUMN precision TEXT NOT NULL DEFAULT 'server'",),
    (
        # See `checksums`. Existing rows get their checksums after the migrations, some thousands at a time.
        # The two indexes contain the rows that still lack one, and are empty from then on.
        "ALTER TABLE images ADD COLUMN checksum INTEGER",
        "ALTER TABLE embeddings ADD COLUMN checksum INTEGER",
        "CREATE INDEX images_without_checksum ON images (key) WHERE checksum IS NULL",
        "CREATE INDEX embeddings_without_checksum ON embeddings (key) WHERE checksum IS NULL",
    ),
    (
        # What makes the vectors of an identity; NULL until a version is known that does.
        "ALTER TABLE identities ADD COLUMN model TEXT",
        "ALTER TABLE identities ADD COLUMN version INTEGER",
        "ALTER TABLE identities ADD COLUMN precision TEXT",
        "ALTER TABLE identities ADD COLUMN decode TEXT",
        "ALTER TABLE identities ADD COLUMN bundle TEXT",
        # The identity that a collection is searched with, and the one before.
        "ALTER TABLE collections ADD COLUMN identity INTEGER REFERENCES identities (number)",
        "ALTER TABLE collections ADD COLUMN previous_identity INTEGER REFERENCES identities (number)",
        # The versions that serve requests without a collection: role 'active' or 'previous'. Role 'asked':
        # the name that the settings gave last.
        """CREATE TABLE serving (
            role    TEXT PRIMARY KEY,
            model   TEXT NOT NULL,
            version INTEGER NOT NULL,
            bundle  TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE rollouts (
            id          TEXT NOT NULL UNIQUE,
            model       TEXT NOT NULL,
            version     INTEGER NOT NULL,
            bundle      TEXT NOT NULL,
            state       TEXT NOT NULL,
            created_at  TEXT NOT NULL,
            collection  TEXT,
            precision   TEXT,
            now         INTEGER NOT NULL,
            reason      TEXT NOT NULL,
            finished_at TEXT,
            stays       TEXT NOT NULL,
            comparison  TEXT
        ) STRICT""",
        # Texts that a collection was searched for, if the server records them; the newest has the largest
        # number.
        """CREATE TABLE recorded_queries (
            number     INTEGER PRIMARY KEY,
            collection TEXT NOT NULL REFERENCES collections (name) ON DELETE CASCADE,
            text       TEXT NOT NULL,
            UNIQUE (collection, text)
        ) STRICT""",
    ),
    (
        # Whether searches see what there is, although images may lack a vector: after a switch that did not
        # wait.
        "ALTER TABLE collections ADD COLUMN may_lag INTEGER NOT NULL DEFAULT 0",
        # The version that its vectors are of: several may make vectors of one identity.
        "ALTER TABLE collections ADD COLUMN version INTEGER",
        "ALTER TABLE collections ADD COLUMN bundle TEXT",
    ),
    # See `core.collections.duplicates`. NULL: not known yet, or no file is kept to compute it from.
    ("ALTER TABLE images ADD COLUMN picture_hash BLOB",),
    # See `core.types.AddOutcome`.
    ("ALTER TABLE job_items ADD COLUMN metadata_differs INTEGER NOT NULL DEFAULT 0",),
)


def connect(file: Path, *, writes: bool) -> sqlite3.Connection:
    """Open a connection in autocommit mode, read-only unless it `writes`."""
    # check_same_thread: a connection is used by one thread, and closed by another once that thread has ended.
    db = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a commit returns once it is on the disk
    db.execute(f"PRAGMA journal_size_limit = {MAX_IDLE_LOG_BYTES}")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA secure_delete = ON")  # deleted content is overwritten, not only unlinked
    if not writes:
        db.execute("PRAGMA query_only = ON")
    return db


def connect_immutable(file: Path) -> sqlite3.Connection:
    """Open a connection that makes no file and takes no lock. Nobody may write to the database meanwhile."""
    uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def require_sound(db: sqlite3.Connection) -> None:
    """Check all pages, and every row against every index. Raises CorruptStore naming the first fault.

    Otherwise a page of one index in the place of another would silently return wrong rows, or none.
    """
    try:
        (fault,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:  # the check itself may fail on what it reads
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:  # such as a full disk
            raise
        fault = str(error)
    if fault != "ok":
        raise CorruptStore(damaged(" ".join(fault.split())))


def damaged(fault: object) -> str:
    """The message for a damaged database."""
    return f"the database is damaged: {fault}; a backup can be restored with `diptych restore`"


def is_of_damaged_row(error: sqlite3.DatabaseError) -> bool:
    """Whether the error is that a row's metadata are not JSON or a text is not UTF-8, by its message."""
    messages = ("malformed JSON", "user-defined function raised exception", "Could not decode to UTF-8")
    return str(error).startswith(messages)


def migrate(db: sqlite3.Connection) -> None:
    """Apply the missing migrations, each in a transaction, then compute missing checksums.

    Raises StoreError for a newer schema, CorruptStore if the tables do not match the recorded schema.
    """
    db.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
    )
    version = _known_version(db)
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        db.execute("BEGIN IMMEDIATE")
        for statement in statements:
            _apply(db, statement, number)
        db.execute("INSERT INTO schema_version VALUES (?, ?)", (number, datetime.now(UTC).isoformat()))
        with around("migration_commit"):
            db.execute("COMMIT")
    checksums.fill(db)


def require_current(db: sqlite3.Connection) -> None:
    """Check, without writing, that `migrate` would do nothing. Raises StoreError."""
    made = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'").fetchone()
    version = _known_version(db) if made else 0
    if version < len(MIGRATIONS):
        needs = f"schema {len(MIGRATIONS)}, the data folder has {version}"
    elif not checksums.are_all_there(db):
        needs = "checksums of all rows"
    else:
        return
    raise StoreError(f"this version needs {needs}: start a server once that may write to the folder")


def _known_version(db: sqlite3.Connection) -> int:
    version = schema_version(db)
    if version > len(MIGRATIONS):
        raise StoreError(f"the data folder has schema {version}, this version knows up to {len(MIGRATIONS)}")
    return version


def _apply(db: sqlite3.Connection, statement: str, number: int) -> None:
    try:
        db.execute(statement)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # such as a full disk
            raise
        raise CorruptStore(damaged(f"its tables do not match schema {number - 1}: {error}")) from error


def is_current(db: sqlite3.Connection) -> bool:
    """Whether `migrate` would change nothing. False if that cannot be read."""
    try:
        return schema_version(db) == len(MIGRATIONS) and checksums.are_all_there(db)
    except sqlite3.DatabaseError:
        return False


def schema_version(db: sqlite3.Connection) -> int:
    """The number of migrations applied so far."""
    (version,) = db.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return int(version)
