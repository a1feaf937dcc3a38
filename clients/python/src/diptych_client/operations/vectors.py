"""`add_vectors`: add ready-made vectors to a collection, and go on when single vectors fail."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from diptych_client.binding import Call
from diptych_client.errors import ApiError, InvalidCall
from diptych_client.operations.adding import added, one_per_item
from diptych_client.operations.describing import version
from diptych_client.operations.naming import error_of_single_item
from diptych_client.results.common import ModelRef
from diptych_client.results.encoding import EmbeddedItem
from diptych_client.results.images import AddOutcome
from diptych_client.steps import Part, Request, Steps, json_bytes, path_of

Vector: TypeAlias = Iterable[float] | EmbeddedItem
"""A vector of unit norm: an item that `embed` returned, a row of a float32 matrix, or plain numbers."""

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
    """Add ready-made vectors to a collection. Return one outcome for each, in order.

    `model` is the model that made them, as an answer of `embed` names it. The server accepts only vectors of
    the version, precision and decode mode that its collections have. `identity`, which exported files have,
    distinguishes versions with the same name and number. The other arguments are as in `add`.

    >>> made = client.embed(images=["cat.png"])
    >>> outcomes = client.add_vectors(made.images, model=made.model, ids=["tabby"], collection="pets")
    >>> outcomes[0].status
    'created'
    """
    each_id, each_metadata = one_per_item("ids", ids, vectors), one_per_item("metadata", metadata, vectors)
    if collection is None:
        collection = (yield from version()).default_collection
    path = path_of("collections", collection, "vectors")
    named = asdict(model)
    if identity is not None:
        named["identity"] = identity
    outcomes: list[AddOutcome] = []
    for start in range(0, len(vectors), BATCH):
        rows = [
            vector_bytes(vectors[i], f"vectors[{i}]") for i in range(start, min(start + BATCH, len(vectors)))
        ]
        _require_equal_lengths(rows, start)
        parts = [Part("model", json_bytes("model", named)), Part("embeddings", b"".join(rows), is_file=True)]
        items = [{"id": each_id[i], "metadata": each_metadata[i]} for i in range(start, start + len(rows))]
        if any(item["id"] is not None or item["metadata"] is not None for item in items):
            parts.append(Part("items", json_bytes("metadata", items)))
        request = Request("POST", path, {"replace": "true"} if replace else {}, parts=parts)
        for outcome in (yield from _send(request, start, len(rows))):
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    return outcomes


def _send(request: Request, start: int, n: int) -> Steps[list[AddOutcome]]:
    """Send one request. If it has one item and is refused because of it, return that as its outcome."""
    try:
        return (yield from added(request, range(start, start + n)))
    except ApiError as error:
        if n > 1 or not (error.item or "").startswith("items[0]"):
            raise
        return [AddOutcome(start, None, "failed", error_of_single_item(error))]


def vector_bytes(vector: Vector, name: str) -> bytes:
    """Encode a vector as little-endian float32. Raises InvalidCall that names it."""
    if isinstance(vector, EmbeddedItem):
        vector = vector.embedding
    try:
        view = memoryview(vector)  # type: ignore[arg-type]
    except TypeError:
        numbers = array("f", vector)
    else:
        if view.format != "f" or view.ndim != 1:
            raise InvalidCall(
                f"{name} must be a row of float32, is of type {view.format!r} with {view.ndim} dimensions"
            )
        numbers = array("f", view.tobytes())
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _require_equal_lengths(rows: Sequence[bytes], start: int) -> None:
    """Raise InvalidCall for a vector of another length, with which the server would misread all others."""
    for index, row in enumerate(rows, start):
        if len(row) != len(rows[0]) or not row:
            raise InvalidCall(
                f"vectors[{index}] has {len(row) // 4} numbers, vectors[{start}] has {len(rows[0]) // 4}"
            )


class VectorsCalls:
    """The calls of this module, as methods of both clients."""

    add_vectors = Call(add_vectors)
