"""`add_vectors`: ready-made vectors into a collection, past the ones that fail."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from diptych_client import parsing
from diptych_client.errors import ApiError, InvalidCall
from diptych_client.operations.adding import each, outcomes_of
from diptych_client.operations.describing import version
from diptych_client.operations.naming import of_the_only_item
from diptych_client.results import AddOutcome, ModelRef
from diptych_client.steps import Part, Request, Steps, exchange, json_bytes, path_of

Vector: TypeAlias = Iterable[float]
"""A vector of unit norm: an `array('f')` as calls return it, a row of a float32 matrix, or plain numbers."""

BATCH = 1_000


def add_vectors(
    vectors: Sequence[Vector],
    *,
    model: ModelRef,
    identity: str | None = None,
    ids: Sequence[str | None] | None = None,
    metadata: Sequence[Mapping[str, Any] | None] | None = None,
    collection: str | None = None,
    replace: bool = False,
    on_outcome: Callable[[AddOutcome], None] | None = None,
) -> Steps[list[AddOutcome]]:
    """Add ready-made vectors to a collection; what became of each, in order.

    `model` is what made them, as the answers of `embed` name it; the server refuses those of any other
    version, precision or way of decoding than its collections have. `identity`, which exported files have,
    tells versions of one name and number apart. The rest is as in `add`.
    """
    each_id, each_metadata = each("ids", ids, vectors), each("metadata", metadata, vectors)
    if collection is None:
        collection = (yield from version()).default_collection
    path = path_of("collections", collection, "vectors")
    named = {"name": model.name, "version": model.version}
    named |= {"precision": model.precision, "decode": model.decode}
    if identity is not None:
        named["identity"] = identity
    outcomes: list[AddOutcome] = []
    for start in range(0, len(vectors), BATCH):
        rows = [_bytes(vectors[i], i) for i in range(start, min(start + BATCH, len(vectors)))]
        _require_equal(rows, start)
        parts = [Part("model", json_bytes("model", named)), Part("embeddings", b"".join(rows), is_file=True)]
        items = [{"id": each_id[i], "metadata": each_metadata[i]} for i in range(start, start + len(rows))]
        if any(item["id"] is not None or item["metadata"] is not None for item in items):
            parts.append(Part("items", json_bytes("metadata", items)))
        request = Request("POST", path, {"replace": "true"} if replace else {}, parts=parts)
        for outcome in (yield from _sent(request, start, len(rows))):
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    return outcomes


def _sent(request: Request, start: int, n: int) -> Steps[list[AddOutcome]]:
    """When a request with one item is refused for that item, it is the item's outcome."""
    try:
        answer = yield from exchange(request)
    except ApiError as error:
        if n > 1 or not (error.item or "").startswith("items[0]"):
            raise
        return [AddOutcome(start, None, "failed", of_the_only_item(error))]
    body = answer.json()
    with parsing.reading("an add"):
        return outcomes_of(body, range(start, start + n))


def _bytes(vector: Vector, index: int) -> bytes:
    """Little-endian float32."""
    try:
        view = memoryview(vector)  # type: ignore[arg-type]
    except TypeError:
        numbers = array("f", vector)
    else:
        if view.format != "f" or view.ndim != 1:
            raise InvalidCall(
                f"vectors[{index}] is no row of float32, but of {view.format!r}, {view.ndim} deep"
            )
        numbers = array("f", view.tobytes())
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _require_equal(rows: Sequence[bytes], start: int) -> None:
    """The server cuts the rows by their length, so one that is too short would shift all others."""
    for index, row in enumerate(rows, start):
        if len(row) != len(rows[0]) or not row:
            raise InvalidCall(
                f"vectors[{index}] has {len(row) // 4} numbers, vectors[{start}] has {len(rows[0]) // 4}"
            )
