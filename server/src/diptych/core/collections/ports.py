"""What collections need from outside: a record store, an image store, an index and thumbnails."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from diptych.core.collections.filters import Filter
from diptych.core.job import JobOutcomes
from diptych.core.types import (
    SERVER,
    CollectionInfo,
    Embedding,
    Embeddings,
    ImageRecord,
    IndexPlace,
    Keep,
    Keys,
    Metadata,
    NewRow,
    PutResult,
    Removed,
    Sizes,
)


class Thumbnailer(Protocol):
    """Makes small pictures without metadata, off the event loop."""

    async def thumbnail(self, payload: bytes, size_px: int) -> bytes:
        """The longer side becomes at most `size_px`. Raises UnsupportedImage, UndecodableImage, TooLarge."""
        ...


class VectorIndex(Protocol):
    """Nearest neighbours in one collection. Calls may overlap; each sees whole changes."""

    @property
    def recall(self) -> float:
        """The share of the nearest ones that it finds."""
        ...

    @property
    def place(self) -> IndexPlace:
        """Where it is searched now."""
        ...

    async def apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Take `removed` out and put `rows` (N, D) in under `keys`; no search sees half of it."""
        ...

    async def search(
        self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False
    ) -> tuple[Keys, Embedding]:
        """At most k (keys, cosines), best first; among `allowed` keys only, when given.

        With `exact`, all rows are compared, also where `recall` is below 1 without.
        """
        ...

    async def close(self) -> None:
        """Wait for running calls and let go."""
        ...


class ImageStore(Protocol):
    """Image files by the sha256 of their content. Raises StoreError when the disk refuses."""

    async def require_available(self) -> None:
        """Raises StoreUnavailable while the folder of the files is gone, as when its disk is unmounted."""
        ...

    async def put(self, payloads: dict[str, bytes]) -> None:
        """sha256 -> bytes; all durable and whole when this returns; a damaged file is written anew."""
        ...

    async def get(self, sha256: str) -> bytes:
        """Raises CorruptStore when the file is missing."""
        ...

    async def get_thumbnail(self, sha256: str, size_px: int) -> bytes | None:
        """The kept thumbnail, or None."""
        ...

    async def put_thumbnail(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        """Keep a thumbnail; it is derived, and may be lost."""
        ...

    async def stored(self) -> list[str]:
        """The sha256 of all files and thumbnails there are; leftovers of broken writes are removed."""
        ...

    async def sizes(self, sha256s: Sequence[str]) -> dict[str, int]:
        """Bytes of those files that are there, without a look into them."""
        ...

    async def remove(self, sha256s: Sequence[str]) -> None:
        """Delete the files and all their thumbnails; missing ones are fine."""
        ...


class RecordStore(Protocol):
    """The truth about collections, images and embeddings. Writes are durable when they return.

    A read sees one commit. Those of a collection raise NotFound when that has none of this name, so that one
    that has just got another does not seem to be empty: see Shelf.read.
    """

    async def collections(self) -> list[CollectionInfo]:
        """All collections by name, with their numbers of images."""
        ...

    async def create_collection(
        self, name: str, model: str, keep: Keep = "original", precision: str = SERVER
    ) -> CollectionInfo:
        """Raises Conflict when the name is taken."""
        ...

    async def change_collection(self, name: str, new_name: str, keep: Keep, precision: str) -> None:
        """All of it or nothing. Raises NotFound; Conflict if a new name is taken, or a job adds to it."""
        ...

    async def drop_collection(self, name: str) -> Removed:
        """Remove it with all its images. Raises NotFound, StoreFull as `delete_keys`."""
        ...

    async def sizes(self, name: str | None = None) -> dict[str, Sizes]:
        """What is kept of one collection, or of all by name."""
        ...

    async def n_bytes(self) -> int:
        """The database and its log on the disk, without image files."""
        ...

    async def put(
        self,
        collection: str,
        rows: Sequence[NewRow],
        *,
        identity: str,
        replace: bool,
        job_outcomes: Callable[[Sequence[PutResult]], JobOutcomes] | None = None,
    ) -> list[PutResult]:
        """Add N rows in order, and what jobs hear of the N results, in one transaction.

        A row that was there has an embedding of this identity afterwards, too. Raises NotFound for the
        collection, and for a job that has ended: it does so with its collection, and another one may have the
        name since. `job_outcomes` is called in any thread.
        """
        ...

    async def put_embeddings(self, keys: Sequence[int], rows: Embeddings, identity: str) -> list[int]:
        """Add embeddings of rows that exist; returns the keys that still did."""
        ...

    async def get(self, collection: str, id: str) -> ImageRecord:
        """Raises NotFound."""
        ...

    async def find(self, collection: str, ids: Sequence[str]) -> dict[str, ImageRecord]:
        """The records of those ids that exist."""
        ...

    async def by_key(self, keys: Sequence[int]) -> dict[int, ImageRecord]:
        """The records of those keys that exist."""
        ...

    async def page(self, collection: str, after: str | None, limit: int) -> list[ImageRecord]:
        """At most `limit` records with ids above `after`, ascending by id (code point order)."""
        ...

    async def patch(self, collection: str, id: str, change: Callable[[Metadata], Metadata]) -> ImageRecord:
        """Replace the metadata by `change(metadata)`. Raises NotFound, what `change` raises."""
        ...

    async def delete(self, collection: str, id: str) -> Removed:
        """Raises NotFound."""
        ...

    async def delete_keys(self, keys: Sequence[int]) -> Removed:
        """Of rows that exist. Raises StoreFull when that is too much at once for a full disk."""
        ...

    async def keys(self, collection: str) -> list[int]:
        """Of all its rows, ascending."""
        ...

    async def matching_keys(self, collection: str, filter: Filter) -> Keys:
        """Keys of the rows whose metadata passes, ascending.

        A cancelled call stops reading.
        """
        ...

    async def embedding(self, collection: str, id: str, identity: str) -> Embedding | None:
        """Its embedding of this identity; None when it has none. Raises NotFound."""
        ...

    def embeddings(
        self, collection: str, identity: str
    ) -> AsyncIterator[tuple[list[int], Embeddings, list[int]]]:
        """All embeddings of this identity in chunks of (keys, (N, D), keys whose embedding is damaged)."""
        ...

    async def missing(self, collection: str, identity: str) -> dict[int, bool]:
        """Keys of the rows without an embedding of this identity, and whether their image is kept."""
        ...

    async def used(self, sha256s: Sequence[str]) -> set[str]:
        """Those of the sha256 whose file some row uses."""
        ...

    async def close(self) -> None:
        """Finish what runs and let go of the data folder."""
        ...
