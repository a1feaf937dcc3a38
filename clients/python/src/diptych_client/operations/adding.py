"""`add`: any number of images into a collection, past the ones that fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from diptych_client import parsing
from diptych_client.errors import ApiError, InvalidCall, TooLarge, UnexpectedAnswer, UnreadableFile
from diptych_client.images import ImageBatches, ImageInput, Loaded, images_of
from diptych_client.operations.describing import version
from diptych_client.operations.managing import find_images
from diptych_client.operations.naming import of_the_only_item
from diptych_client.results import AddOutcome, Json
from diptych_client.steps import Part, Request, Steps, exchange, json_bytes, path_of

T = TypeVar("T")

CONTENT_ID_DIGITS = 32  # of the sha256, when an image has no id of its own


def add(
    images: Sequence[ImageInput],
    *,
    ids: Sequence[str | None] | None = None,
    metadata: Sequence[Mapping[str, Any] | None] | None = None,
    collection: str | None = None,
    replace: bool = False,
    skip_known: bool = False,
    on_outcome: Callable[[AddOutcome], None] | None = None,
) -> Steps[list[AddOutcome]]:
    """Add images to a collection (the server's default, unless named); what became of each, in order.

    An image that is there already is "unchanged", so an interrupted call is resumed by repeating it. Without
    an id, the server makes one from the bytes. With `skip_known` the server is asked by id and sha256 first,
    and what it has is not sent.

    An item that fails is an outcome with its error; the rest goes on. What concerns every item is raised (no
    connection, a wrong key, a stopped server); `on_outcome` has seen by then what was done before.
    """
    images = images_of(images)
    each_id, each_metadata = each("ids", ids, images), each("metadata", metadata, images)
    if collection is None:
        collection = (yield from version()).default_collection
    adding = _Adding(collection, replace, each_id, each_metadata, skip_known)
    outcomes: list[AddOutcome] = []
    batches = ImageBatches(images)
    while batch := (yield from batches.take()):
        for outcome in (yield from adding.batch(batch)):
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    return outcomes


def each(name: str, values: Sequence[T | None] | None, items: Sequence[object]) -> Sequence[T | None]:
    """One value for each item. Raises InvalidCall when their numbers differ."""
    if values is None:
        return [None] * len(items)
    if len(values) != len(items):
        raise InvalidCall(f"{name} has {len(values)} entries for {len(items)} items")
    return values


def outcomes_of(body: Json, indexes: Sequence[int]) -> list[AddOutcome]:
    """The outcomes in an answer, with the indexes that their items have in the whole call."""
    rows = body["outcomes"]
    if len(rows) != len(indexes):
        raise UnexpectedAnswer(f"{len(rows)} outcomes for {len(indexes)} items")
    return [parsing.add_outcome(row, index) for row, index in zip(rows, indexes, strict=True)]


class _Adding:
    """One call of `add`: the parts that are the same for all of its requests."""

    def __init__(
        self,
        collection: str,
        replace: bool,
        ids: Sequence[str | None],
        metadata: Sequence[Mapping[str, Any] | None],
        skip_known: bool,
    ) -> None:
        self._collection = collection
        self._path = path_of("collections", collection, "images")
        self._params = {"replace": "true"} if replace else {}
        self._ids = ids
        self._metadata = metadata
        self._replace = replace
        self._skip_known = skip_known

    def batch(self, batch: Sequence[Loaded]) -> Steps[list[AddOutcome]]:
        """Outcomes of one batch, in its order: the readable ones are sent, the others have failed already."""
        outcomes: list[AddOutcome] = []
        readable: list[Loaded] = []
        for loaded in batch:
            if isinstance(loaded.payload, UnreadableFile):
                outcomes.append(AddOutcome(loaded.index, None, "failed", loaded.payload))
            else:
                readable.append(loaded)
        if readable and self._skip_known:
            known = yield from self._known(readable)
            outcomes += known
            there = {outcome.index for outcome in known}
            readable = [loaded for loaded in readable if loaded.index not in there]
        if readable:
            outcomes += yield from self._send(readable)
        return sorted(outcomes, key=lambda outcome: outcome.index)

    def _known(self, batch: Sequence[Loaded]) -> Steps[list[AddOutcome]]:
        """Those that the server has already, and would not change."""
        sha256s = {loaded.index: sha256(loaded.bytes_or_raise()).hexdigest() for loaded in batch}
        ids = {index: self._ids[index] or digits[:CONTENT_ID_DIGITS] for index, digits in sha256s.items()}
        records = yield from find_images(self._collection, sorted(set(ids.values())))
        return [
            AddOutcome(index, id, "unchanged")
            for index, id in ids.items()
            if id in records
            and records[id].sha256 == sha256s[index]
            and not (self._replace and self._metadata[index] not in (None, records[id].metadata))
        ]

    def _send(self, batch: Sequence[Loaded]) -> Steps[list[AddOutcome]]:
        """One request; when it is refused as a whole, one for each half, until only the bad item fails."""
        try:
            return (yield from self._request(batch))
        except ApiError as error:
            if not _one_item_is_at_fault(error):
                raise
            if len(batch) == 1:
                return [AddOutcome(batch[0].index, None, "failed", of_the_only_item(error))]
        half = len(batch) // 2
        first = yield from self._send(batch[:half])
        return first + (yield from self._send(batch[half:]))

    def _request(self, batch: Sequence[Loaded]) -> Steps[list[AddOutcome]]:
        items = [self._item(loaded.index) for loaded in batch]
        parts = [Part("image", loaded.bytes_or_raise(), is_file=True) for loaded in batch]
        if any(items):
            parts.append(Part("items", json_bytes("metadata", items)))
        answer = yield from exchange(Request("POST", self._path, self._params, parts=parts))
        body = answer.json()
        with parsing.reading("an add"):
            return outcomes_of(body, [loaded.index for loaded in batch])

    def _item(self, index: int) -> dict[str, object]:
        item = {"id": self._ids[index], "metadata": self._metadata[index]}
        return {key: value for key, value in item.items() if value is not None}


def _one_item_is_at_fault(error: ApiError) -> bool:
    """A refusal names its item, but for a body that is too large: each item alone may still fit."""
    return error.item is not None or isinstance(error, TooLarge)
