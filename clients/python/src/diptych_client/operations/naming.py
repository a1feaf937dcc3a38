"""Calls that take several requests still name their items and their model as one call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from diptych_client.errors import ApiError, VersionChanged, api_error
from diptych_client.results import ModelRef

_INDEXED = re.compile(r"\w+\[(\d+)\]")


@contextmanager
def items_named(name: str, start: int) -> Iterator[None]:
    """Name the item of a refusal by its place in the whole call: ``input[3]`` -> ``images[67]``."""
    try:
        yield
    except ApiError as error:
        indexed = _INDEXED.match(error.item or "")
        if indexed is None:
            raise
        item = f"{name}[{start + int(indexed[1])}]"
        raise api_error(replace(error.problem, item=item)) from None


def same_model(previous: ModelRef | None, answering: ModelRef) -> ModelRef:
    """`answering`, unless an earlier part of the call was answered by another. Raises VersionChanged."""
    if previous is not None and previous != answering:
        raise VersionChanged(f"the server moved from {previous} to {answering} during the call: repeat it")
    return answering
