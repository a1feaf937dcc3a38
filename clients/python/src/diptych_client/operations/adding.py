"""`add`: add any number of images to a collection, and go on when single images fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, TypeVar

from diptych_client.binding import Call
from diptych_client.errors import ApiError, InvalidCall, TooLarge, UnexpectedAnswer, UnreadableFile
from diptych_client.images import ImageBatches, ImageInput, LoadedImage, image_list
from diptych_client.operations.describing import version
from diptych_client.operations.managing import find_images
from diptych_client.operations.naming import error_of_single_item
from diptych_client.results.common import Json
from diptych_client.results.images import AddOutcome
from diptych_client.steps import Part, Request, Steps, json_bytes, path_of, result_of

T = TypeVar("T")

CONTENT_ID_DIGITS = 32  # of the sha256, as the id of an image that has none


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
    """Add images to a collection, by default to that of the server. Return one outcome for each, in order.

    An image that the collection already has is "unchanged", so repeat an interrupted call to resume it.
    Without an id, the server makes one from the bytes. With `skip_known`, the server is asked by id and
    sha256 first, and images that it has are not sent.

    An image that fails has an outcome with its error, and the others are added. An error that concerns every
    image is raised (no connection, a wrong key, a stopped server). `on_outcome` has then received all earlier
    outcomes.

    >>> outcomes = client.add(["cat.png", "dog.png"], metadata=[{"album": "home"}, None], collection="pets")
    >>> [outcome.status for outcome in outcomes]
    ['created', 'created']
    """
    images = image_list(images)
    each_id, each_metadata = one_per_item("ids", ids, images), one_per_item("metadata", metadata, images)
    if collection is None:
        collection = (yield from version()).default_collection
    call = _AddCall(collection, replace, each_id, each_metadata, skip_known)
    outcomes: list[AddOutcome] = []
    batches = ImageBatches(images)
    while batch := (yield from batches.take()):
        for outcome in (yield from call.add_batch(batch)):
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    return outcomes


def one_per_item(name: str, values: Sequence[T | None] | None, items: Sequence[object]) -> Sequence[T | None]:
    """Return one value for each item. Raises InvalidCall when the numbers differ."""
    if values is None:
        return [None] * len(items)
    if len(values) != len(items):
        raise InvalidCall(f"{name} has {len(values)} entries for {len(items)} items")
    return values


def added(request: Request, indexes: Sequence[int]) -> Steps[list[AddOutcome]]:
    """Send a request that adds items. `indexes` are those of the items in the whole call."""
    outcomes = yield from result_of(request, list[AddOutcome], "outcomes")
    if len(outcomes) != len(indexes):
        raise UnexpectedAnswer(f"{len(outcomes)} outcomes for {len(indexes)} items")
    return [replace(outcome, index=index) for outcome, index in zip(outcomes, indexes, strict=True)]


class _AddCall:
    """One call of `add`: the arguments that all its requests share."""

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

    def add_batch(self, batch: Sequence[LoadedImage]) -> Steps[list[AddOutcome]]:
        """Send the readable images of a batch. Return the outcomes of all its images, in order."""
        outcomes: list[AddOutcome] = []
        readable: list[LoadedImage] = []
        for loaded in batch:
            if isinstance(loaded.payload, UnreadableFile):
                outcomes.append(AddOutcome(loaded.index, None, "failed", loaded.payload))
            else:
                readable.append(loaded)
        if readable and self._skip_known:
            unchanged = yield from self._unchanged(readable)
            outcomes += unchanged
            known = {outcome.index for outcome in unchanged}
            readable = [loaded for loaded in readable if loaded.index not in known]
        if readable:
            outcomes += yield from self._send(readable)
        return sorted(outcomes, key=lambda outcome: outcome.index)

    def _unchanged(self, batch: Sequence[LoadedImage]) -> Steps[list[AddOutcome]]:
        """Return the outcomes of images that the server already has and would not change: a file that stays
        in a library would be kept from now on.
        """
        sha256s = {loaded.index: sha256(loaded.bytes_or_raise()).hexdigest() for loaded in batch}
        ids = {index: self._ids[index] or digits[:CONTENT_ID_DIGITS] for index, digits in sha256s.items()}
        records = yield from find_images(self._collection, sorted(set(ids.values())))
        return [
            AddOutcome(
                index, id, "unchanged", metadata_differs=_lacks(records[id].metadata, self._metadata[index])
            )
            for index, id in ids.items()
            if id in records
            and records[id].sha256 == sha256s[index]
            and not records[id].referenced
            and not (self._replace and self._metadata[index] not in (None, records[id].metadata))
        ]

    def _send(self, batch: Sequence[LoadedImage]) -> Steps[list[AddOutcome]]:
        """Send one request. If the server refuses it, send each half, until only the bad image fails."""
        try:
            return (yield from self._request(batch))
        except ApiError as error:
            if not _concerns_one_item(error):
                raise
            if len(batch) == 1:
                return [AddOutcome(batch[0].index, None, "failed", error_of_single_item(error))]
        half = len(batch) // 2
        first = yield from self._send(batch[:half])
        return first + (yield from self._send(batch[half:]))

    def _request(self, batch: Sequence[LoadedImage]) -> Steps[list[AddOutcome]]:
        items = [self._item(loaded.index) for loaded in batch]
        parts = [Part("image", loaded.bytes_or_raise(), is_file=True) for loaded in batch]
        if any(items):
            parts.append(Part("items", json_bytes("metadata", items)))
        request = Request("POST", self._path, self._params, parts=parts)
        return added(request, [loaded.index for loaded in batch])

    def _item(self, index: int) -> dict[str, object]:
        item = {"id": self._ids[index], "metadata": self._metadata[index]}
        return {key: value for key, value in item.items() if value is not None}


def _lacks(stored: Json, given: Mapping[str, Any] | None) -> bool:
    """Whether stored metadata lacks a field that was given, as the server judges: `file` does not count."""
    wanted = json.loads(json_bytes("metadata", given or {}))
    return any(key not in stored or stored[key] != wanted[key] for key in wanted if key != "file")


def _concerns_one_item(error: ApiError) -> bool:
    """Whether smaller requests can succeed. An error of a too large body names no item."""
    return error.item is not None or isinstance(error, TooLarge)


class AddingCalls:
    """The calls of this module, as methods of both clients."""

    add = Call(add)
