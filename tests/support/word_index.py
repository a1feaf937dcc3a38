"""Compare the words that a data folder has indexed with its rows."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from diptych.adapters.sqlite.store import DATABASE
from diptych.core.collections.metadata.words import Document, document_of


def disagreeing_words(data_dir: Path) -> list[str]:
    """The images, by collection and id, whose words are not those of their rows; `?` for an id without a row.

    Reads one commit, also while a server writes.
    """
    uri = f"{(data_dir / DATABASE).absolute().as_uri()}?mode=ro"  # else its end would remove the log
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
        db.execute("BEGIN")
        found = list[str]()
        query = "SELECT number, name, text_fields, unindexed_after, unindexed_until FROM collections"
        for c, name, text, after, until in db.execute(query).fetchall():
            fields = None if text is None else tuple(json.loads(text))
            faults = db.execute(f"PRAGMA integrity_check (words_{c})").fetchall()
            assert faults == [("ok",)], faults
            indexed = {key: Document(*row) for key, *row in db.execute(f"SELECT rowid, * FROM words_{c}")}
            rows = db.execute("SELECT key, id, metadata FROM images WHERE collection = ?", (c,))
            for key, id, metadata in rows:
                if after < key <= until:
                    assert key not in indexed, f"{name}/{id} is indexed before its turn"
                elif indexed.pop(key, None) != document_of(id, _object(metadata), fields):
                    found.append(f"{name}/{id}")
            found += [f"{name}/?" for _ in indexed]
    return found


def _object(text: str) -> dict[str, object]:
    try:
        metadata = json.loads(text)
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}
