"""The tables of the database, and the steps that bring those of the release before up to date."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import logging
import re
import sqlite3
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from diptych.adapters.sqlite.dialect import SqliteConnection
from diptych.errors import CorruptStore, StoreError
from diptych.failpoints import around

BUSY_S = 30.0
MAX_IDLE_LOG_BYTES = (
    16_000_000  # a log that grew larger, as during a backup, is truncated once it is not read
)

LOG = logging.getLogger("diptych.store")

DAMAGED_ROW = "a row of the database is damaged: `diptych check --data-dir` names its image"

# `number` is what everything refers to a collection by: AUTOINCREMENT never uses one again. `change`: see
# `core.collections.stored.ports`; 1 is the creation. `identity`: the one of its vectors that are searched;
# `previous_identity`: the one before. Several versions may make vectors of one identity: `version` and
# `bundle` are those that it has moved to.
_COLLECTIONS = """CREATE TABLE collections (
        number            INTEGER PRIMARY KEY AUTOINCREMENT,
        name              TEXT NOT NULL UNIQUE,
        model             TEXT NOT NULL,
        created_at        TEXT NOT NULL,
        keep              TEXT NOT NULL DEFAULT 'original',
        identity          INTEGER REFERENCES identities (number),
        previous_identity INTEGER REFERENCES identities (number),
        version           INTEGER,
        bundle            TEXT,
        change            INTEGER NOT NULL
    ) STRICT"""
# `text_fields`: a JSON array, NULL for all. The others: see `text_index`, which also makes a table for each
# collection.
_TEXT_INDEX = (
    "ALTER TABLE collections ADD COLUMN text_fields TEXT",
    "ALTER TABLE collections ADD COLUMN unindexed_after INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE collections ADD COLUMN unindexed_until INTEGER NOT NULL DEFAULT 0",
)
# AUTOINCREMENT: a key is never reused, so that an index entry never refers to another image. `kept`:
# whether the image file is kept: a ready-made vector has no file, and a collection may keep none.
# REFERENCED: the file stays in a library.
# `picture_hash`: see `core.collections.stored.duplicates`; NULL: unknown, or no file is kept to hash.
# `change`: the change of the collection that wrote the row.
REFERENCED = 2
_IMAGES = """CREATE TABLE images (
        key          INTEGER PRIMARY KEY AUTOINCREMENT,
        collection   INTEGER NOT NULL REFERENCES collections (number),
        id           TEXT NOT NULL,
        sha256       TEXT NOT NULL,
        n_bytes      INTEGER NOT NULL,
        media_type   TEXT NOT NULL,
        width        INTEGER NOT NULL,
        height       INTEGER NOT NULL,
        metadata     TEXT NOT NULL,
        created_at   TEXT NOT NULL,
        kept         INTEGER NOT NULL DEFAULT 1,
        checksum     INTEGER,
        picture_hash BLOB,
        change       INTEGER NOT NULL,
        UNIQUE (collection, id)
    ) STRICT"""
# A job outlives its collection, so that its end can still be reported: `collection` is NULL then, and `name`
# what it was called.
_JOBS = """CREATE TABLE jobs (
        id          TEXT NOT NULL UNIQUE,
        collection  INTEGER REFERENCES collections (number),
        name        TEXT,
        replaces    INTEGER NOT NULL,
        state       TEXT NOT NULL,
        n_items     INTEGER NOT NULL,
        created_at  TEXT NOT NULL,
        finished_at TEXT,
        reason      TEXT NOT NULL
    ) STRICT"""
# What the check of SQLite (3.44 and newer) says of a table of FTS5.
_OF_WORDS = re.compile(r"inverted index for FTS5 table \w+\.(words_\d+)")
_IMAGE_INDEXES = (
    # This index alone gives the sizes of a collection.
    "CREATE INDEX images_by_collection ON images (collection, kept, n_bytes)",
    # Ordered by key within a collection. Without this index each chunk of embeddings sorts all remaining
    # rows, and reading a million embeddings takes minutes.
    "CREATE INDEX images_by_key ON images (collection)",
    "CREATE INDEX images_by_sha256 ON images (sha256)",
)
# How far the EXIF of kept images was read, at the level `exif` or a higher one: up to the key `exif_read_to`;
# NULL: all. The server sets its level when it starts, so that EXIF of added images is read at that level.
_EXIF_READ = (
    "ALTER TABLE collections ADD COLUMN exif TEXT NOT NULL DEFAULT 'none'",
    "ALTER TABLE collections ADD COLUMN exif_read_to INTEGER",
)
# `definition`: JSON, see `core.labels.label_set`. A verdict belongs to the bytes of a picture, and so to no
# image that is put in the place of another; `labels`: a JSON array, `given_by`: the name of an API key.
_LABELS = (
    """CREATE TABLE label_sets (
        number     INTEGER PRIMARY KEY AUTOINCREMENT,
        collection INTEGER NOT NULL REFERENCES collections (number),
        name       TEXT NOT NULL,
        definition TEXT NOT NULL,
        revision   INTEGER NOT NULL,
        changed_at TEXT NOT NULL,
        UNIQUE (collection, name)
    ) STRICT""",
    """CREATE TABLE verdicts (
        label_set INTEGER NOT NULL REFERENCES label_sets (number) ON DELETE CASCADE,
        sha256    TEXT NOT NULL,
        labels    TEXT NOT NULL,
        given_by  TEXT NOT NULL,
        given_at  TEXT NOT NULL,
        PRIMARY KEY (label_set, sha256)
    ) STRICT, WITHOUT ROWID""",
)
# Whether the picture was proposed at random when its first verdict was given.
_DRAWN = ("ALTER TABLE verdicts ADD COLUMN drawn INTEGER NOT NULL DEFAULT 0",)
# The statement of another key that stood before the verdict: a JSON object, see `core.labels.label_set`.
_BEFORE = ("ALTER TABLE verdicts ADD COLUMN before TEXT",)
_DESPITE_LABELS = ("ALTER TABLE rollouts ADD COLUMN despite_labels INTEGER NOT NULL DEFAULT 0",)
# The files of libraries: see `core.libraries.ports`. What a person has deleted does not return with a scan.
_LIBRARIES = (
    """CREATE TABLE library_files (
        collection    INTEGER NOT NULL REFERENCES collections (number),
        path          BLOB NOT NULL,
        n_bytes       INTEGER NOT NULL,
        modified_ns   INTEGER NOT NULL,
        device        TEXT NOT NULL,
        sha256        TEXT,
        problem       TEXT NOT NULL,
        missing_since TEXT,
        PRIMARY KEY (collection, path)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX library_files_by_sha256 ON library_files (sha256)",
    """CREATE TABLE library_deleted (
        collection INTEGER NOT NULL REFERENCES collections (number),
        sha256     TEXT NOT NULL,
        PRIMARY KEY (collection, sha256)
    ) STRICT, WITHOUT ROWID""",
)
SCHEMA: tuple[str, ...] = (
    # What makes the vectors of an identity; NULL until a version is known that does.
    """CREATE TABLE identities (
        number    INTEGER PRIMARY KEY,
        identity  TEXT NOT NULL UNIQUE,
        model     TEXT,
        version   INTEGER,
        precision TEXT,
        decode    TEXT,
        bundle    TEXT
    ) STRICT""",
    _COLLECTIONS,
    *_EXIF_READ,
    *_TEXT_INDEX,
    _IMAGES,
    *_IMAGE_INDEXES,
    """CREATE TABLE embeddings (
        key       INTEGER NOT NULL REFERENCES images (key) ON DELETE CASCADE,
        identity  INTEGER NOT NULL REFERENCES identities (number),
        embedding BLOB NOT NULL,
        checksum  INTEGER,
        change    INTEGER NOT NULL DEFAULT 1,
        PRIMARY KEY (key, identity)
    ) STRICT""",
    _JOBS,
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
        metadata_differs INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (job, number)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX job_items_to_do ON job_items (job, number) WHERE status IS NULL",
    # Role 'active' or 'previous': what serves, and what served before. Role 'asked': the name that the
    # settings gave last. `wanted`: the precision of the versions that have it.
    """CREATE TABLE serving (
        role      TEXT PRIMARY KEY,
        model     TEXT NOT NULL,
        version   INTEGER NOT NULL,
        bundle    TEXT NOT NULL,
        precision TEXT NOT NULL DEFAULT 'fp32',
        decode    TEXT NOT NULL DEFAULT 'exact',
        wanted    TEXT NOT NULL DEFAULT 'fp32'
    ) STRICT""",
    """CREATE TABLE rollouts (
        id          TEXT NOT NULL UNIQUE,
        model       TEXT NOT NULL,
        version     INTEGER NOT NULL,
        bundle      TEXT NOT NULL,
        precision   TEXT NOT NULL DEFAULT 'fp32',
        decode      TEXT NOT NULL DEFAULT 'exact',
        state       TEXT NOT NULL,
        created_at  TEXT NOT NULL,
        reason      TEXT NOT NULL,
        finished_at TEXT,
        stays       TEXT NOT NULL,
        comparison  TEXT
    ) STRICT""",
    *_LABELS,
    *_DRAWN,
    *_DESPITE_LABELS,
    *_BEFORE,
    *_LIBRARIES,
)

# What most images that are searched with the version that serves have vectors of. An identity names one
# version, though several may make its vectors: a collection names the one that it is searched with.
_OF_COLLECTIONS = (
    "(SELECT n.{column} FROM collections c JOIN identities n ON n.number = c.identity"
    " JOIN images i ON i.collection = c.name"
    " WHERE c.model = serving.model AND coalesce(c.version, n.version) = serving.version"
    " AND coalesce(c.bundle, n.bundle) = serving.bundle AND n.precision IS NOT NULL"
    " GROUP BY n.number ORDER BY count(*) DESC, n.precision LIMIT 1)"
)
# What most vectors of the version that served before are of.
_OF_VECTORS = (
    "(SELECT n.{column} FROM identities n JOIN embeddings e ON e.identity = n.number"
    " WHERE n.model = serving.model AND n.version = serving.version AND n.bundle = serving.bundle"
    " AND n.precision IS NOT NULL GROUP BY n.number ORDER BY count(*) DESC, n.precision LIMIT 1)"
)


def _rebuilt(create: str, columns: str, values: str, order: str) -> tuple[str, ...]:
    """Replace a table by one that `create` makes, with a row of `values` for each row, in this order."""
    table = create.split()[2]
    return (
        create.replace(f"CREATE TABLE {table} ", f"CREATE TABLE new_{table} "),
        # A number that was used once is not used again.
        f"INSERT INTO sqlite_sequence SELECT 'new_{table}', seq FROM sqlite_sequence WHERE name = '{table}'",
        f"INSERT INTO new_{table} ({columns}) SELECT {values} FROM {table} ORDER BY {order}",
        f"DROP TABLE {table}",
        f"ALTER TABLE new_{table} RENAME TO {table}",
    )


_NUMBER = "(SELECT number FROM collections WHERE name = collection)"
_OF_COLLECTION = "name, model, created_at, keep, identity, previous_identity, version, bundle"
_OF_IMAGE = (
    "id, sha256, n_bytes, media_type, width, height, metadata, created_at, kept, checksum, picture_hash"
)
_OF_JOB = "id, replaces, state, n_items, created_at, finished_at, reason"
_OF_ACTIVE = "(SELECT {column} FROM serving WHERE role = 'active')"
NUMBERED = 12  # the first version in which images refer to their collection by number
WITH_WORDS = 13  # the first version that has an index of words
OLDEST = 9  # the version that the first of these steps begins with
CONVERSIONS: tuple[tuple[str, ...], ...] = (
    # See `core.types.AddOutcome`.
    ("ALTER TABLE job_items ADD COLUMN metadata_differs INTEGER NOT NULL DEFAULT 0",),
    # A server had precisions of requests, of collections and of single collections. It keeps the one that
    # most of its images have; collections with other vectors move to it. Without vectors, the next start
    # chooses, and a rollout that was under way begins again.
    (
        "DROP TABLE recorded_queries",
        "DROP INDEX images_without_checksum",
        "DROP INDEX embeddings_without_checksum",
        "ALTER TABLE collections DROP COLUMN precision",
        "ALTER TABLE collections DROP COLUMN may_lag",
        "ALTER TABLE serving ADD COLUMN precision TEXT NOT NULL DEFAULT 'fp32'",
        "ALTER TABLE serving ADD COLUMN decode TEXT NOT NULL DEFAULT 'exact'",
        "ALTER TABLE serving ADD COLUMN wanted TEXT NOT NULL DEFAULT 'fp32'",
        f"UPDATE serving SET precision = coalesce({_OF_COLLECTIONS.format(column='precision')}, 'auto'),"
        f" decode = coalesce({_OF_COLLECTIONS.format(column='decode')}, 'exact') WHERE role = 'active'",
        "UPDATE serving SET"
        f" precision = coalesce({_OF_VECTORS.format(column='precision')},"
        f" {_OF_ACTIVE.format(column='precision')}),"
        f" decode = coalesce({_OF_VECTORS.format(column='decode')}, {_OF_ACTIVE.format(column='decode')})"
        " WHERE role = 'previous'",
        "UPDATE serving SET wanted = precision",
        "DELETE FROM rollouts WHERE collection IS NOT NULL",
        "ALTER TABLE rollouts DROP COLUMN collection",
        "ALTER TABLE rollouts DROP COLUMN now",
        "ALTER TABLE rollouts DROP COLUMN precision",
        "ALTER TABLE rollouts ADD COLUMN precision TEXT NOT NULL DEFAULT 'fp32'",
        "ALTER TABLE rollouts ADD COLUMN decode TEXT NOT NULL DEFAULT 'exact'",
        "UPDATE rollouts SET (precision, decode) ="
        " (SELECT precision, decode FROM serving WHERE role = 'active')"
        " WHERE EXISTS (SELECT 1 FROM serving WHERE role = 'active')",
        "DELETE FROM rollouts WHERE precision = 'auto' AND finished_at IS NULL",
    ),
    # Collections were referred to by name.
    (
        *_rebuilt(_COLLECTIONS, f"{_OF_COLLECTION}, change", f"{_OF_COLLECTION}, 1", "created_at, name"),
        *_rebuilt(_IMAGES, f"key, collection, {_OF_IMAGE}, change", f"key, {_NUMBER}, {_OF_IMAGE}, 1", "key"),
        *_IMAGE_INDEXES,
        *_rebuilt(
            _JOBS,
            f"collection, name, {_OF_JOB}",
            f"{_NUMBER}, iif({_NUMBER} IS NULL, collection, NULL), {_OF_JOB}",
            "rowid",
        ),
        "ALTER TABLE embeddings ADD COLUMN change INTEGER NOT NULL DEFAULT 1",
    ),
    (*_EXIF_READ, *_TEXT_INDEX, *_LABELS),
    _DRAWN,
    _DESPITE_LABELS,
    _BEFORE,
    _LIBRARIES,
)
VERSION = OLDEST + len(CONVERSIONS)


def connect(file: Path, *, writes: bool) -> SqliteConnection:
    """Open a connection in autocommit mode, read-only unless it `writes`."""
    # check_same_thread: a connection is used by one thread, and closed by another once that thread has ended.
    db = sqlite3.connect(
        file, isolation_level=None, check_same_thread=False, timeout=BUSY_S, factory=SqliteConnection
    )
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a commit returns once it is on the disk
    db.execute(f"PRAGMA journal_size_limit = {MAX_IDLE_LOG_BYTES}")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA secure_delete = ON")  # deleted content is overwritten, not only unlinked
    if not writes:
        db.execute("PRAGMA query_only = ON")
    return db


def connect_immutable(file: Path) -> SqliteConnection:
    """Open a connection that makes no file and takes no lock. Nobody may write to the database meanwhile."""
    uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, factory=SqliteConnection
    )


def require_sound(db: sqlite3.Connection) -> list[str]:
    """Check all pages, and every row against every index. Raises CorruptStore naming the first fault.

    Otherwise a page of one index in the place of another would silently return wrong rows, or none. Returns
    the tables of words that are damaged inside, which are made again: their pages are sound.
    """
    try:
        faults = [fault for (fault,) in db.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:  # the check itself may fail on what it reads
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:  # such as a full disk
            raise
        faults = [str(error)]
    for fault in faults:
        if fault != "ok" and not _OF_WORDS.search(fault):
            raise CorruptStore(damaged(" ".join(fault.split())))
    return [found[1] for fault in faults if (found := _OF_WORDS.search(fault))]


def damaged(fault: object) -> str:
    """The message for a damaged database."""
    return f"the database is damaged: {fault}; a backup can be restored with `diptych restore`"


def is_of_damaged_row(error: sqlite3.DatabaseError) -> bool:
    """Whether the error is that a row's metadata are not JSON or a text is not UTF-8, by its message."""
    messages = ("malformed JSON", "user-defined function raised exception", "Could not decode to UTF-8")
    return str(error).startswith(messages)


def is_of_damaged_tables(error: sqlite3.DatabaseError) -> bool:
    """Whether the error is that a statement of this package names what is not there, by its message."""
    return str(error).startswith(("no such table", "no such column"))


def migrate(db: sqlite3.Connection) -> None:
    """Make the tables of a new database, or bring those of the release before up to date; one transaction.

    Raises StoreError for a newer schema or one that is too old, CorruptStore if the tables do not match the
    recorded schema.
    """
    db.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
    )
    version = schema_version(db)
    if version == VERSION:
        return
    if version:
        require_known(version)
        _require_checksums(db, version)
        LOG.info("the data folder is converted from schema %d to %d", version, VERSION)
    db.execute("PRAGMA foreign_keys = OFF")  # a table that is rebuilt is dropped with what refers to it
    db.execute("BEGIN IMMEDIATE")
    steps = CONVERSIONS[version - OLDEST :] if version else (SCHEMA,)
    for statement in chain.from_iterable(steps):
        _apply(db, statement, version)
    db.execute("INSERT INTO schema_version VALUES (?, ?)", (VERSION, datetime.now(UTC).isoformat()))
    with around("migration_commit"):
        db.execute("COMMIT")
    db.execute("PRAGMA foreign_keys = ON")


def require_current(db: sqlite3.Connection) -> None:
    """Check, without writing, that `migrate` would do nothing. Raises StoreError."""
    made = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'").fetchone()
    version = schema_version(db) if made else 0
    require_known(version)
    if version < VERSION:
        raise StoreError(
            f"this version needs schema {VERSION}, the data folder has {version}: start a server once that "
            "may write to the folder"
        )


def require_known(version: int) -> None:
    """Raise StoreError for a schema that is newer than this release, or that it cannot convert."""
    if version > VERSION:
        raise StoreError(f"the data folder has schema {version}, this version knows up to {VERSION}")
    if version < OLDEST:
        raise StoreError(
            f"the data folder has schema {version}, this version converts schema {OLDEST} at the oldest: add "
            "its images to a new data folder"
        )


def _require_checksums(db: sqlite3.Connection, version: int) -> None:
    """Raise StoreError for rows that the release before was still giving checksums: without one, a row
    counts as damaged.
    """
    for table in ("images", "embeddings") if version == OLDEST else ():
        if db.execute(f"SELECT 1 FROM {table} WHERE checksum IS NULL LIMIT 1").fetchone():
            raise StoreError(
                f"rows of the table {table} have no checksum yet: start the release before once more, "
                "wait until it is ready, and stop it"
            )


def _apply(db: sqlite3.Connection, statement: str, version: int) -> None:
    try:
        db.execute(statement)
    except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}:
            raise  # such as a full disk
        raise CorruptStore(damaged(f"its tables do not match schema {version}: {error}")) from error


def is_current(db: sqlite3.Connection) -> bool:
    """Whether `migrate` would change nothing. False if that cannot be read."""
    try:
        return schema_version(db) == VERSION
    except sqlite3.DatabaseError:
        return False


def schema_version(db: sqlite3.Connection) -> int:
    """The version of the tables; 0 without tables."""
    (version,) = db.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return int(version)
