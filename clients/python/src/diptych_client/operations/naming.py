"""Combine the requests of one call: item names count over the whole call, and all have one model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from diptych_client.errors import ApiError, VersionChanged, api_error
from diptych_client.results.common import ModelRef

_INDEXED = re.compile(r"(?:input|images)\[(\d+)\]")
_ONLY_ITEM = re.compile(r"(?:images|items)\[0\]\.?")


@contextmanager
def rename_items(name: str, start: int) -> Iterator[None]:
    """Rename the item in an ApiError to its place in the whole call: ``input[3]`` becomes ``images[67]``.

    Items that are the same in all requests of the call, such as ``labels[1]``, keep their names.
    """
    try:
        yield
    except ApiError as error:
        indexed = _INDEXED.match(error.item or "")
        if indexed is None:
            raise
        item = f"{name}[{start + int(indexed[1])}]{indexed.string[indexed.end() :]}"
        raise api_error(replace(error.problem, item=item)) from None


def error_of_single_item(error: ApiError) -> ApiError:
    """Turn the error of a request with one item into that of the item: ``items[0].id`` becomes ``id``."""
    item = _ONLY_ITEM.sub("", error.item or "", count=1)
    return api_error(replace(error.problem, item=item or None))


def same_model(previous: ModelRef | None, current: ModelRef) -> ModelRef:
    """Return `current`. Raises VersionChanged when an earlier request of the call had another model."""
    if previous is not None and previous != current:
        raise VersionChanged(f"the server moved from {previous} to {current} during the call: repeat it")
    return current
