"""What became of many items, and why some failed, in a few lines. Knows nothing of what the items are."""

from collections import Counter
from collections.abc import Mapping, Sequence

from diptych.cli.output.console import err
from diptych_client import AddStatus

STATUSES: tuple[AddStatus, ...] = ("created", "replaced", "unchanged", "failed")


def said_of(counts: Mapping[AddStatus, int], n_left: int) -> str:
    """`3 created, 0 replaced, ...`, and how many were not tried."""
    said = [f"{counts.get(status, 0)} {status}" for status in STATUSES]
    return ", ".join([*said, f"{n_left} not tried"] if n_left else said)


def show_failures(failed: Sequence[tuple[str, str]]) -> None:
    """Each (name, reason) on a line, then how often each reason was one, if that says more."""
    for name, reason in failed:
        err(f"failed: {name}: {reason}")
    reasons = Counter(reason for _, reason in failed)
    if 1 < len(failed) > len(reasons):
        for reason, n in reasons.most_common():
            err(f"{n} failed: {reason}")
