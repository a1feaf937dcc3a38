"""Adds and deletes images of a large collection, and ends when its index is on the disk: a process to kill.

    python -m durability.index_writer MODEL_REPO DATA_DIR JOURNAL

`JOURNAL` gets a line for each acknowledged image.
"""

import asyncio
import sys
from pathlib import Path

from diptych.failpoints import VARIABLE, arm
from integration.large_indexes import N, add_rows, opened, until_saved

FIRST, LATER = range(N), range(N, 2 * N + 100)  # twice as many make it train again
DELETED = 3


async def write(model_repo: Path, data_dir: Path, journal: Path) -> None:
    """Train, save, change and train again."""
    async with opened(model_repo, data_dir) as store:
        for numbers in (FIRST, LATER):
            await add_rows(store, numbers)
            _note(journal, [f"+{n}" for n in numbers])
            await until_saved(store)
            if numbers is FIRST:
                await store.collections.images.delete("default", f"image-{DELETED}")
                _note(journal, [f"-{DELETED}"])


def _note(journal: Path, lines: list[str]) -> None:
    with journal.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    import os

    arm(os.environ.get(VARIABLE))
    asyncio.run(write(*map(Path, sys.argv[1:])))
