"""Turn per-item outcomes into a whole answer or one error; knows nothing of what the items are."""

from collections.abc import Sequence
from typing import TypeVar

from diptych.errors import DiptychError, EncoderFailed, InputError

Row = TypeVar("Row")


def raise_first(outcomes: Sequence[Row | DiptychError], prefix: str) -> list[Row]:
    """The rows when all went well; else raises the first error, named such as ``input[3]`` if one item's."""
    rows: list[Row] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, InputError | EncoderFailed):
            raise outcome.named(f"{prefix}[{index}]")
        if isinstance(outcome, DiptychError):
            raise outcome
        rows.append(outcome)
    return rows
