"""Shows how far something is, on stderr: a bar on a terminal, a line now and then in a log."""

import sys
from collections.abc import Iterable, Sized
from typing import Any, TypeVar

from tqdm import tqdm

BAR_INTERVAL_S, LINE_INTERVAL_S = 0.5, 30.0
COUNTED = "{desc}: {n_fmt}/{total_fmt} {unit}s, {elapsed} so far, {remaining} left{postfix}"
UNCOUNTED = "{desc}: {n_fmt} {unit}s, {elapsed} so far{postfix}"

Item = TypeVar("Item")


class Lines:
    """A file for tqdm that makes a line of all that it draws, and nothing of what only clears."""

    def write(self, drawn: str) -> None:
        """Write what is drawn, without the returns and spaces that would hide what was there before."""
        if line := drawn.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        """Hand all lines on."""
        sys.stderr.flush()


def progress_bar(
    *, unit: str, total: int | None = None, desc: str | None = None, **options: Any
) -> "tqdm[Any]":
    """A bar that the caller updates; `options` are tqdm's."""
    return tqdm(unit=unit, total=total, desc=desc, **_shown(total), **options)


def each(items: Iterable[Item], *, unit: str, desc: str | None = None) -> Iterable[Item]:
    """The items, with a bar over them."""
    total = len(items) if isinstance(items, Sized) else None
    return tqdm(items, unit=unit, total=total, desc=desc, **_shown(total))


def _shown(total: int | None) -> dict[str, Any]:
    if sys.stderr.isatty():
        return {"mininterval": BAR_INTERVAL_S}
    every = {"mininterval": LINE_INTERVAL_S, "maxinterval": LINE_INTERVAL_S}
    return {**every, "file": Lines(), "bar_format": UNCOUNTED if total is None else COUNTED}
