"""Compare the words that a data folder has indexed with its rows."""

from pathlib import Path

from diptych.adapters.sqlite.snapshot import SqliteSnapshot
from diptych.adapters.sqlite.store import DATABASE


def disagreeing_words(data_dir: Path) -> list[str]:
    """The images, by collection and id, whose words are not those of their rows, as a check finds them; the
    name of a collection whose index has other rows.

    Reads one commit, also while a server writes.
    """
    with SqliteSnapshot(data_dir / DATABASE) as snapshot:
        return [
            *snapshot.require_sound(),
            *(f"{one.collection}/{one.id}" for one in snapshot.differing_words()),
        ]
