"""What collections need from adapters: a record store, an image store and thumbnails."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from diptych.core.collections.metadata.facets import FieldSummary
from diptych.core.collections.metadata.filters import Filter
from diptych.core.job import JobOutcomes
from diptych.core.types import (
    CollectionInfo,
    Embedding,
    Embeddings,
    ImageContent,
    ImageRecord,
    Keep,
    Keys,
    Metadata,
    NewRow,
    PutResult,
    Removed,
    Sizes,
    Target,
    VersionRef,
)


class Thumbnailer(Protocol):
    """Makes thumbnails without metadata, off the event loop."""

    async def thumbnail(self, payload: bytes, size_px: int) -> bytes:
        """Scale the longer side to at most `size_px`. Raises UnsupportedImage, UndecodableImage, TooLarge."""
        ...


class ImageStore(Protocol):
    """Image files by the sha256 of their content. Raises StoreError when the disk fails."""

    async def require_available(self) -> None:
        """Raise StoreUnavailable while the folder of the files is gone, as when its disk is unmounted."""
        ...

    async def require_writable(self) -> None:
        """As `require_available`; also raises StoreReadOnly while files cannot be written."""
        ...

    async def put(self, payloads: dict[str, bytes]) -> None:
        """Write sha256 -> bytes; all are durable and whole when this returns; a damaged file is written
        again.
        """
        ...

    async def get(self, sha256: str) -> bytes:
        """Read a file. Raises CorruptStore when it is missing."""
        ...

    async def get_thumbnail(self, sha256: str, size_px: int) -> bytes | None:
        """The kept thumbnail, or None."""
        ...

    async def put_thumbnail(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        """Keep a thumbnail; it can be derived again, so it may be lost."""
        ...

    async def stored(self) -> list[str]:
        """The sha256 of all files and thumbnails; also removes leftovers of interrupted writes."""
        ...

    async def sizes(self, sha256s: Sequence[str]) -> dict[str, int]:
        """The bytes of those files that exist, without reading them."""
        ...

    async def remove(self, sha256s: Sequence[str]) -> None:
        """Delete the files and all their thumbnails; missing ones are fine."""
        ...


class RecordStore(Protocol):
    """The source of truth about collections, images and embeddings. Writes are durable when they return.

    A read sees one commit. `c` is the number of a collection, which is never used again: what takes one
    raises NotFound once that collection is dropped.
    """

    async def require_sound(self) -> None:
        """Wait for the check of what is stored. Raises CorruptStore.

        Until it has ended, what is read may be wrong, and nothing may be removed because of it.
        """
        ...

    async def require_writable(self) -> None:
        """Raise StoreUnavailable while what is stored is out of reach, StoreReadOnly while its disk takes no
        writes.
        """
        ...

    async def collections(self) -> list[CollectionInfo]:
        """All collections by name, with their numbers of images."""
        ...

    async def create_collection(
        self,
        name: str,
        keep: Keep,
        identity: str,
        ref: VersionRef,
    ) -> CollectionInfo:
        """Create an empty collection with vectors of an identity and version.

        Raises Conflict when the name is taken.
        """
        ...

    async def move_collection(self, c: int, target: Target, identity: str) -> None:
        """Note what makes the vectors of a collection from now on; the ones before are kept. Raises
        NotFound.
        """
        ...

    async def record_identity(self, identity: str, source: Target) -> None:
        """Remember what makes vectors of an identity."""
        ...

    async def identity_sources(self) -> dict[str, Target]:
        """What makes vectors, by identity, as far as it is known."""
        ...

    async def change_collection(self, c: int, name: str, keep: Keep) -> None:
        """Change all of it or nothing. Raises NotFound; Conflict if the new name is taken or a job adds to
        it.
        """
        ...

    async def drop_collection(self, c: int) -> Removed:
        """Remove it with all its images. Raises NotFound, and StoreFull as `delete_keys`."""
        ...

    async def sizes(self, c: int | None = None) -> dict[int, Sizes]:
        """The sizes of the kept images of one collection, or of all collections by number."""
        ...

    async def n_bytes(self) -> int:
        """Bytes of the database and its log on disk, without image files."""
        ...

    async def put(
        self,
        c: int,
        rows: Sequence[NewRow],
        *,
        identity: str,
        replace: bool,
        job_outcomes: Callable[[Sequence[PutResult]], JobOutcomes] | None = None,
    ) -> list[PutResult]:
        """Add N rows in order, and the job outcomes of the N results, in one transaction.

        A row that existed before has an embedding of this identity afterwards, too. Raises NotFound for the
        collection, and for a job that has ended: it ends with its collection, and another collection may have
        the name since. `job_outcomes` is called in any thread.
        """
        ...

    async def put_embeddings(self, c: int, keys: Sequence[int], rows: Embeddings, identity: str) -> list[int]:
        """Add embeddings of existing rows; return the keys that still existed."""
        ...

    async def get(self, c: int, id: str) -> ImageRecord:
        """One record. Raises NotFound."""
        ...

    async def find(self, c: int, ids: Sequence[str]) -> dict[str, ImageRecord]:
        """The records of those ids that exist."""
        ...

    async def by_key(self, keys: Sequence[int]) -> dict[int, ImageRecord]:
        """The records of those keys that exist."""
        ...

    async def page(
        self, c: int, after: str | None, limit: int, filter: Filter | None = None
    ) -> list[ImageRecord]:
        """At most `limit` records with ids above `after` that pass the filter, by id (code point order)."""
        ...

    async def patch(self, c: int, id: str, change: Callable[[Metadata], Metadata]) -> ImageRecord:
        """Replace the metadata by `change(metadata)`. Raises NotFound, and what `change` raises."""
        ...

    async def delete(self, c: int, id: str) -> Removed:
        """Delete one image. Raises NotFound."""
        ...

    async def delete_keys(self, c: int, keys: Sequence[int]) -> Removed:
        """Delete existing rows. Raises StoreFull when that is too much at once for a full disk."""
        ...

    async def keys(self, c: int, ids: Sequence[str] | None = None) -> list[int]:
        """The keys of all rows, or of those `ids` that exist, ascending."""
        ...

    async def matching_keys(self, c: int, filter: Filter) -> Keys:
        """Keys of the rows whose metadata passes, ascending. A cancelled call stops reading."""
        ...

    async def fields(
        self, c: int, filter: Filter | None, limit: int, *, nested: bool = False
    ) -> FieldSummary:
        """What the fields of the metadata that passes the filter hold, each with at most `limit` values, with
        `nested` also the fields inside of objects. A cancelled call stops reading.
        """
        ...

    async def embedding(self, c: int, id: str, identity: str) -> Embedding | None:
        """The image's embedding of this identity, None if it has none. Raises NotFound."""
        ...

    async def embeddings_of(self, keys: Sequence[int], identity: str) -> dict[int, Embedding]:
        """The embeddings (D,) of those images that have one of this identity."""
        ...

    def embeddings(self, c: int, identity: str) -> AsyncIterator[tuple[list[int], Embeddings, list[int]]]:
        """All embeddings of this identity, in chunks of (keys, (N, D), keys whose embedding is damaged)."""
        ...

    async def same_bytes(self, c: int) -> list[list[str]]:
        """The ids of images with the same bytes, ascending, in groups of two or more, by their first ids."""
        ...

    async def contents(self, c: int) -> list[ImageContent]:
        """What all images of the collection are compared by, by id."""
        ...

    async def picture_hashes(self, keys: Sequence[int]) -> dict[int, bytes | None]:
        """The picture hashes of images by key; None where it is unknown and the image's file is kept."""
        ...

    async def put_picture_hashes(self, hashes: Mapping[int, bytes]) -> None:
        """Store the picture hashes of those images that still exist."""
        ...

    async def missing(self, c: int, identity: str) -> dict[int, bool]:
        """Keys of the rows without an embedding of this identity, and whether their image is kept."""
        ...

    async def used_files(self, sha256s: Sequence[str]) -> set[str]:
        """Those of the sha256 whose file a row uses."""
        ...

    async def close(self) -> None:
        """Finish running calls and close the data folder."""
        ...
