"""Progress on stderr: a bar on a terminal, otherwise one line now and then."""

import sys
from collections.abc import Iterable, Sized
from typing import Any, TypeVar

from tqdm import tqdm

BAR_INTERVAL_S, LINE_INTERVAL_S = 0.5, 30.0
COUNTED = "{desc}: {n_fmt}/{total_fmt} {unit}s, {elapsed} so far, {remaining} left{postfix}"
UNCOUNTED = "{desc}: {n_fmt} {unit}s, {elapsed} so far{postfix}"

Item = TypeVar("Item")


class LineWriter:
    """A file object for tqdm that writes each update as a line of its own and drops updates that only
    clear.
    """

    def write(self, drawn: str) -> None:
        """Write the text without carriage returns and padding."""
        if line := drawn.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        """Flush stderr."""
        sys.stderr.flush()


def progress_bar(
    *, unit: str, total: int | None = None, desc: str | None = None, **options: Any
) -> "tqdm[Any]":
    """Create a bar that the caller updates; `options` are tqdm's."""
    return tqdm(unit=unit, total=total, desc=desc, **_display_options(total), **options)


def each(items: Iterable[Item], *, unit: str, desc: str | None = None) -> Iterable[Item]:
    """Iterate over the items with a progress bar."""
    total = len(items) if isinstance(items, Sized) else None
    return tqdm(items, unit=unit, total=total, desc=desc, **_display_options(total))


def _display_options(total: int | None) -> dict[str, Any]:
    if sys.stderr.isatty():
        return {"mininterval": BAR_INTERVAL_S}
    every = {"mininterval": LINE_INTERVAL_S, "maxinterval": LINE_INTERVAL_S}
    return {**every, "file": LineWriter(), "bar_format": UNCOUNTED if total is None else COUNTED}
