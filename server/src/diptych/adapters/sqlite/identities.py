"""What makes the vectors of each identity."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import sqlite3

from diptych.adapters.sqlite import rows as sql
from diptych.core.types import Target, VersionRef

_SOURCE = "model, version, bundle, precision, decode"


def record_source(db: sqlite3.Connection, identity: str, source: Target) -> None:
    """Set what makes the vectors of an identity, which is added if it is new."""
    number = sql.add_identity(db, identity)
    values = (source.ref.name, source.ref.version, source.ref.bundle, source.precision, source.decode)
    db.execute(f"UPDATE identities SET ({_SOURCE}) = (?, ?, ?, ?, ?) WHERE number = ?", (*values, number))


def sources(db: sqlite3.Connection) -> dict[str, Target]:
    """What makes the vectors of each identity for which that is known."""
    rows = db.execute(f"SELECT identity, {_SOURCE} FROM identities WHERE model IS NOT NULL")
    return {
        identity: Target(VersionRef(model, version, bundle), precision, decode)
        for identity, model, version, bundle, precision, decode in rows
    }
