"""Summarise the outcomes of many items: how many of each status, and why some failed."""

from collections import Counter
from collections.abc import Mapping, Sequence

from diptych.cli.output.console import err
from diptych_client import AddStatus

STATUSES: tuple[AddStatus, ...] = ("created", "replaced", "unchanged", "failed")


def counts_line(counts: Mapping[AddStatus, int], n_left: int) -> str:
    """Return `3 created, 0 replaced, ...`, with the number of items that were not tried."""
    parts = [f"{counts.get(status, 0)} {status}" for status in STATUSES]
    return ", ".join([*parts, f"{n_left} not tried"] if n_left else parts)


def show_failures(failed: Sequence[tuple[str, str]]) -> None:
    """Print each (name, reason) on a line, then the number of failures per reason if reasons repeat."""
    for name, reason in failed:
        err(f"failed: {name}: {reason}")
    reasons = Counter(reason for _, reason in failed)
    if 1 < len(failed) > len(reasons):
        for reason, n in reasons.most_common():
            err(f"{n} failed: {reason}")
