"""Ports of collections: records, an image store and thumbnails.

Records are the source of truth about collections, images and embeddings. Writes are durable when they return;
a read sees one commit.

- `c` is the number of a collection, which no other one ever gets. What takes one raises NotFound once that
  collection is dropped.
- A key stands for one row. It is opaque, but for this: a row that is added or put in the place of another has
  a key of its own, which is larger than all that any collection had before.
- Each write of rows or embeddings is one change of its collection. Changes are numbered from 1, the creation,
  and each row and embedding knows the one that wrote it.
"""

import builtins
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from diptych.bundle.image.preprocess import ImageInfo
from diptych.core.collections.metadata.facets import FieldSummary, Months
from diptych.core.collections.metadata.filters import Filter, Path
from diptych.core.collections.metadata.ordering import OrderBy, Place
from diptych.core.collections.metadata.words import WordQuery
from diptych.core.collections.stored.peers import Peers
from diptych.core.job import JobNote
from diptych.core.types import (
    CollectionInfo,
    DatabaseReport,
    Embedding,
    Embeddings,
    ExifLevel,
    ImageContent,
    ImageRecord,
    Keep,
    Metadata,
    NewRow,
    PassingKeys,
    Removed,
    Sizes,
    Target,
    TextFields,
    VectorPage,
    VersionRef,
    WordMatches,
    Written,
    WrittenVectors,
)
from diptych.errors import InputError

MISSING_AT_ONCE = 10_000


class Thumbnailer(Protocol):
    """Makes thumbnails without metadata, off the event loop."""

    async def thumbnail(self, payload: bytes, size_px: int) -> bytes:
        """Scale the longer side to at most `size_px`. Raises UnsupportedImage, UndecodableImage, TooLarge."""
        ...


class HeaderReader(Protocol):
    """Reads what the headers of image files say, off the event loop."""

    async def headers(self, payloads: Sequence[bytes]) -> list[ImageInfo | InputError]:
        """N files -> N headers, or UnsupportedImage, UndecodableImage, TooLarge for each. Raises NotReady."""
        ...


class ImageStore(Protocol):
    """Image files by the sha256 of their content. Raises StoreError when the disk fails."""

    async def require_available(self) -> None:
        """Raise StoreUnavailable while the files are out of reach, as when their disk is unmounted."""
        ...

    async def require_writable(self) -> None:
        """As `require_available`; also raises StoreReadOnly while files cannot be written."""
        ...

    async def put(self, payloads: dict[str, bytes], *, are_used: bool = False) -> None:
        """Write sha256 -> bytes; all are durable and whole when this returns; a damaged file is written
        again.

        `are_used`: rows use these files already, so that nothing removes those that are there.
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

    def stored(self) -> AsyncIterator[Sequence[str]]:
        """The sha256 of all files and thumbnails that may be removed if no row uses them, in pages.

        A page is removed before the next one is read. Also removes leftovers of interrupted writes.
        """
        ...

    async def sizes(self, sha256s: Sequence[str]) -> dict[str, int]:
        """The bytes of those files that exist, without reading them."""
        ...

    async def remove(self, sha256s: Sequence[str]) -> None:
        """Delete the files and all their thumbnails; missing ones are fine. Files that other servers may be
        about to use stay, and so do those of an object store that are not of the last page of `stored`.
        """
        ...


class Database(Protocol):
    """All that is stored of collections, as one: checked, measured, closed."""

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

    async def n_bytes(self) -> int:
        """Bytes on disk, without image files."""
        ...

    async def report(self) -> DatabaseReport | None:
        """The state of the database; None where it is a file of the data folder."""
        ...

    async def close(self) -> None:
        """Finish running calls and close the data folder."""
        ...


class Catalogue(Protocol):
    """The collections, and what makes the vectors of each identity."""

    async def list(self) -> builtins.list[CollectionInfo]:
        """All collections by name, with their numbers of images."""
        ...

    async def create(
        self,
        name: str,
        keep: Keep,
        identity: str,
        ref: VersionRef,
        *,
        text_fields: TextFields = None,
        exif: ExifLevel = "none",
    ) -> CollectionInfo:
        """Create an empty collection with vectors of an identity and version.

        EXIF of its images is read at the level `exif`. Raises Conflict when the name is taken.
        """
        ...

    async def change(self, c: int, name: str, keep: Keep, text_fields: TextFields) -> None:
        """Change all of it or nothing. Raises Conflict if a new name is taken, or a job adds to it.

        With other fields the words of all rows are indexed again, see `WordRows.index_next`.
        """
        ...

    async def move(self, c: int, target: Target, identity: str) -> None:
        """Note what makes the vectors from now on; those before are kept until `VectorRows.forget`."""
        ...

    async def begin_exif(self, c: int, level: ExifLevel) -> int | None:
        """Note that EXIF of images that are added from now on is read at this level.

        Returns the key after which `Rows.originals` are still to be read at this level, None if there are
        none: all are, if the level before was lower.
        """
        ...

    async def drop(self, c: int) -> None:
        """Make it unknown, also to the next start; its name is free. Quick however many images it has."""
        ...

    async def dropped(self) -> builtins.list[int]:
        """The numbers of dropped collections that `clear` has not removed yet."""
        ...

    async def clear(self, c: int, limit: int) -> Removed:
        """Delete at most `limit` images of a dropped collection; if it has fewer, it is gone.

        Raises StoreFull as `RowWriter.delete`.
        """
        ...

    async def sizes(self, c: int | None = None) -> dict[int, Sizes]:
        """The sizes of the kept images of one collection, or of all collections by number."""
        ...

    async def sources(self) -> dict[str, Target]:
        """The source of vectors, by identity, where it is known."""
        ...

    async def record_source(self, identity: str, source: Target) -> None:
        """Remember what makes vectors of an identity."""
        ...


class Rows(Protocol):
    """Reads images."""

    async def get(self, c: int, id: str) -> ImageRecord:
        """One record. Raises NotFound."""
        ...

    async def find(self, c: int, ids: Sequence[str]) -> dict[str, ImageRecord]:
        """The records of those ids that exist."""
        ...

    async def by_key(self, keys: Sequence[int]) -> dict[int, ImageRecord]:
        """The records of those keys that exist, which may be of several collections."""
        ...

    async def keys(self, c: int, ids: Sequence[str] | None = None) -> list[int]:
        """The keys of all rows, or of those `ids` that exist, ascending."""
        ...

    async def page(
        self, c: int, after: str | None, limit: int, filter: Filter | None = None
    ) -> list[ImageRecord]:
        """At most `limit` records with ids above `after` that pass the filter, by id (code point order)."""
        ...

    async def ordered_page(
        self, c: int, order_by: OrderBy, after: Place | None, limit: int, filter: Filter | None = None
    ) -> list[ImageRecord]:
        """At most `limit` records after a place that pass the filter, in the order of a metadata field.

        A cancelled call stops reading.
        """
        ...

    async def count(self, c: int, filter: Filter | None = None) -> int:
        """The number of rows that pass the filter."""
        ...

    async def fields(
        self, c: int, filter: Filter | None, limit: int, *, nested: bool = False
    ) -> FieldSummary:
        """Summarise the metadata fields of images that pass the filter, each with at most `limit` values.

        With `nested` also the fields inside of objects. A cancelled call stops reading.
        """
        ...

    async def months(self, c: int, path: Path, filter: Filter | None) -> Months:
        """Count the images that pass the filter by the month of a metadata field. A cancelled call stops."""
        ...

    async def texts(self, c: int, path: Path, filter: Filter | None) -> dict[str, int]:
        """Count the images that pass the filter by the text of a metadata field. A cancelled call stops."""
        ...

    async def same_bytes(self, c: int) -> list[list[str]]:
        """The ids of images with the same bytes, ascending, in groups of two or more, by their first ids."""
        ...

    async def contents(self, c: int) -> list[ImageContent]:
        """The hashes by which the images of the collection are compared, by id."""
        ...

    async def originals(self, c: int, after: int, limit: int) -> dict[int, str]:
        """The sha256 of at most `limit` kept images above the key `after`, by key, ascending."""
        ...

    async def hashes(self, keys: Sequence[int]) -> dict[int, bytes | None]:
        """The picture hashes of images by key; None where it is unknown and the image's file is kept."""
        ...

    async def used_files(self, sha256s: Sequence[str]) -> set[str]:
        """The sha256s, of those given, whose file a row uses."""
        ...


class FilterResolver(Protocol):
    """Replaces what a store does not know of in filters."""

    async def resolved(self, c: int, filter: Filter) -> Filter:
        """The filter with the keys of images in the place of `Labelled`.

        Raises InvalidValue for a label set or label that is not there; Conflict if the collection is not
        served.
        """
        ...


class FilteredRows(Protocol):
    """Says which images may be found: what a search in an index needs of the store."""

    async def passing(self, c: int, filter: Filter) -> PassingKeys:
        """The rows whose metadata passes. A cancelled call stops reading."""
        ...


class WordRows(Protocol):
    """Finds images by the words of their names and metadata."""

    async def matching(self, c: int, query: WordQuery) -> WordMatches:
        """All rows that match, best first. A cancelled call stops reading.

        Which rows match is the promise. Their order may differ with another store: here it is bm25 with more
        weight for names and captions, and rows of one score are in the order of their keys. Raises NotFound.
        """
        ...

    async def index_next(self, c: int) -> int:
        """Index the words of some of the rows that were there before; return how many, 0 once all are.

        A row that is written is indexed with it. Raises NotFound.
        """
        ...


class RowWriter(Protocol):
    """Changes images. Each call is one transaction, and one change of the collection."""

    async def put(
        self,
        c: int,
        rows: Sequence[NewRow],
        *,
        identity: str,
        replace: bool,
        notes: Sequence[JobNote] = (),
    ) -> Written:
        """Add N rows in order, and the outcomes of job items in `notes`.

        A row that existed before has an embedding of this identity afterwards, too. One that referred to a
        file of a library keeps it in the data folder from now on, if the new row does; a row of a library
        takes the place of no other row. Raises NotFound for a job that has ended, or adds to another
        collection.
        """
        ...

    async def patch(self, c: int, id: str, merge: Metadata, max_bytes: int) -> ImageRecord:
        """Change the metadata by a merge patch, see `metadata.reserved.patched`. Raises NotFound,
        InvalidValue, TooLarge.
        """
        ...

    async def delete(self, c: int, keys: Sequence[int], *, as_of: int | None = None) -> Removed:
        """Delete existing rows; with `as_of` only those that no later change wrote, or gave an embedding.

        Raises StoreFull when that is too much at once for a full disk.
        """
        ...

    async def put_hashes(self, hashes: Mapping[int, bytes]) -> None:
        """Store the picture hashes of those images that still exist: no change, as the images have them."""
        ...

    async def add_exif(self, c: int, found: Mapping[int, Metadata], read_to: int | None) -> None:
        """Add `found`, by key, to the `exif` of those images that still exist, where that lacks a field.

        Notes that originals were read up to the key `read_to`; None: all. Damaged rows stay as they are.
        """
        ...


class VectorRows(Protocol):
    """The embeddings of images, by identity. One that is damaged counts as missing when it is read."""

    async def find(self, c: int, id: str, identity: str) -> Embedding | None:
        """The image's embedding (D,) of this identity, None if it has none. Raises NotFound."""
        ...

    async def of(self, keys: Sequence[int], identity: str) -> dict[int, Embedding]:
        """The embeddings (D,) of those images that have one of this identity."""
        ...

    def since(self, c: int, identity: str, change: int = 0) -> AsyncIterator[VectorPage]:
        """The embeddings of this identity that later changes than `change` wrote, 0 for all, by key.

        There is at least one page, which may be empty. Compare keys to see which images are gone.
        """
        ...

    async def last_change(self, c: int) -> int:
        """The number of the last change of the collection. Raises NotFound."""
        ...

    async def missing(
        self, c: int, identity: str, *, after: int = 0, limit: int = MISSING_AT_ONCE
    ) -> dict[int, bool]:
        """At most `limit` rows above the key `after` that have no embedding of this identity: their keys,
        ascending, and whether their image is kept.
        """
        ...

    async def put(self, c: int, keys: Sequence[int], rows: Embeddings, identity: str) -> WrittenVectors:
        """Add the embeddings (N, D) of those rows that still exist, as one change of the collection."""
        ...

    async def forget(self, c: int, limit: int, *, keep: Sequence[str] = ()) -> int:
        """Delete embeddings of identities that are neither current nor previous.

        At most `limit` of them, unless all of one identity are as quick.

        Those of `keep` are kept too, which are being filled. Returns how many were deleted; 0 when none is
        left, or no collection has the number.
        """
        ...


class Records(Database, Protocol):
    """The ports of a store. Most callers need one or two of them."""

    @property
    def catalogue(self) -> Catalogue: ...  # noqa: D102 - the port says it

    @property
    def rows(self) -> Rows: ...  # noqa: D102

    @property
    def filtered(self) -> FilteredRows: ...  # noqa: D102

    @property
    def words(self) -> WordRows: ...  # noqa: D102

    @property
    def writer(self) -> RowWriter: ...  # noqa: D102

    @property
    def vectors(self) -> VectorRows: ...  # noqa: D102

    @property
    def peers(self) -> Peers: ...  # noqa: D102
