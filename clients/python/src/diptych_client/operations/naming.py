"""Calls that take several requests still name their items and their model as one call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from diptych_client.errors import ApiError, VersionChanged, api_error
from diptych_client.results import ModelRef

_INDEXED = re.compile(r"(?:input|images)\[(\d+)\]")
_ONLY_ITEM = re.compile(r"(?:images|items)\[0\]\.?")


@contextmanager
def items_named(name: str, start: int) -> Iterator[None]:
    """Name the item of a refusal by its place in the whole call: ``input[3]`` -> ``images[67]``.

    What is the same in all requests of the call, such as ``labels[1]``, keeps its name.
    """
    try:
        yield
    except ApiError as error:
        indexed = _INDEXED.match(error.item or "")
        if indexed is None:
            raise
        item = f"{name}[{start + int(indexed[1])}]{indexed.string[indexed.end() :]}"
        raise api_error(replace(error.problem, item=item)) from None


def of_the_only_item(error: ApiError) -> ApiError:
    """The refusal of a request with one item, as an error of that item: ``items[0].id`` -> ``id``."""
    item = _ONLY_ITEM.sub("", error.item or "", count=1)
    return api_error(replace(error.problem, item=item or None))


def same_model(previous: ModelRef | None, answering: ModelRef) -> ModelRef:
    """`answering`, unless an earlier part of the call was answered by another. Raises VersionChanged."""
    if previous is not None and previous != answering:
        raise VersionChanged(f"the server moved from {previous} to {answering} during the call: repeat it")
    return answering
