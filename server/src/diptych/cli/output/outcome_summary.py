"""Summarise the outcomes of many items: how many of each status, and why some failed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from diptych.cli.output.console import err, out, out_json
from diptych_client import AddOutcome, AddStatus

STATUSES: tuple[AddStatus, ...] = ("created", "replaced", "unchanged", "failed")


def counts_line(counts: Mapping[AddStatus, int], n_left: int) -> str:
    """Return `3 created, 0 replaced, ...`, with the number of items that were not tried."""
    parts = [f"{counts.get(status, 0)} {status}" for status in STATUSES]
    return ", ".join([*parts, f"{n_left} not tried"] if n_left else parts)


def note_metadata_differs(n: int, noun: str) -> None:
    """Say that items are there with other metadata than what was given, if there are any."""
    if n:
        items = f"{n:,} {noun}{'' if n == 1 else 's'}"
        err(f"note: metadata of {items} differs from what was given: --replace stores it")


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


class AddSummary:
    """A progress bar over an add, and at its end a summary, also when an error or an interrupt ends it.

    `files` are the names of the items; without them failures name rows.
    """

    def __init__(
        self, collection: str, n_items: int, unit: str, *, files: Sequence[str] | None = None, as_json: bool
    ) -> None:
        self._collection = collection
        self._n_items = n_items
        self._unit = unit
        self._files = files
        self._as_json = as_json
        self._outcomes: list[AddOutcome] = []
        self._bar: tqdm[Any] = tqdm(total=n_items, unit=unit, disable=True if as_json else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        counts = Counter(outcome.status for outcome in self._outcomes)
        n_left = self._n_items - len(self._outcomes)
        n_differ = sum(outcome.metadata_differs for outcome in self._outcomes)
        if self._as_json:
            about = {"collection": self._collection, "metadata_differs": n_differ}
            print_json_summary(counts, about, n_left, self._failures())
        else:
            show_failures([(self._name(one.index), self._reason(one)) for one in self._failed()])
            out(f"{self._collection}: {counts_line(counts, n_left)}")
            note_metadata_differs(n_differ, self._unit)

    @property
    def exit_status(self) -> int:
        """1 if an item failed, else 0."""
        return 1 if self._failed() else 0

    def note(self, outcome: AddOutcome) -> None:
        """Count an outcome."""
        self._outcomes.append(outcome)
        self._bar.update()

    def _failed(self) -> list[AddOutcome]:
        return [outcome for outcome in self._outcomes if outcome.status == "failed"]

    def _failures(self) -> list[dict[str, object]]:
        key = "row" if self._files is None else "file"
        items = range(self._n_items) if self._files is None else self._files
        return [{key: items[outcome.index], "error": self._reason(outcome)} for outcome in self._failed()]

    def _name(self, index: int) -> str:
        return f"row {index}" if self._files is None else self._files[index]

    def _reason(self, outcome: AddOutcome) -> str:
        """The error without the name of the item, which stands before it."""
        return str(outcome.error).removeprefix(f"{self._name(outcome.index)}: ")
