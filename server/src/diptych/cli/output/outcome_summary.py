"""Summarise the outcomes of many items: how many of each status, and why some failed."""

from collections import Counter
from collections.abc import Mapping, Sequence

from diptych.cli.output.console import err, out_json
from diptych_client import AddStatus

STATUSES: tuple[AddStatus, ...] = ("created", "replaced", "unchanged", "failed")


def counts_line(counts: Mapping[AddStatus, int], n_left: int) -> str:
    """Return `3 created, 0 replaced, ...`, with the number of items that were not tried."""
    parts = [f"{counts.get(status, 0)} {status}" for status in STATUSES]
    return ", ".join([*parts, f"{n_left} not tried"] if n_left else parts)


def print_json_summary(
    counts: Mapping[AddStatus, int], about: Mapping[str, object], n_left: int, failures: object
) -> None:
    """Print the counts as one JSON object, followed by `about`, the number not tried and the failures."""
    tally: dict[str, object] = {status: counts.get(status, 0) for status in STATUSES}
    out_json({**tally, **about, "not_tried": n_left, "failures": failures})


def show_failures(failed: Sequence[tuple[str, str]]) -> None:
    """Print each (name, reason) on a line, then the number of failures per reason if reasons repeat."""
    for name, reason in failed:
        err(f"failed: {name}: {reason}")
    reasons = Counter(reason for _, reason in failed)
    if 1 < len(failed) > len(reasons):
        for reason, n in reasons.most_common():
            err(f"{n} failed: {reason}")
