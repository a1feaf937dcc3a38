"""What the domain needs from the outside, by role; knows nothing of who plays the role."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal, Protocol

from diptych.core.collections.filters import Filter
from diptych.core.job import News
from diptych.core.types import (
    SERVER,
    CollectionInfo,
    Embedding,
    Embeddings,
    ImageRecord,
    IndexPlace,
    InputIds,
    Keep,
    Keys,
    Metadata,
    NewRow,
    Picture,
    PutResult,
    Removed,
    Sizes,
)
from diptych.errors import InputError

# "image" and "text"; "collection_image" and "collection_text" where collections have another precision than
# requests; and "collection_image_int8" or the like of one that only some collections asked for.
EncoderName = str
Stage = Literal["parse", "fetch", "decode", "queue", "encode", "search", "serialise"]
# Why a request was refused, or a try of a job: the words that alerts and the dashboard ask for.
Reason = Literal[
    "bodies_full", "fetch_full", "decode_full", "tokenize_full",
    "stopping", "request_timeout", "header_timeout", "body_timeout",
    "head_too_large", "connections_full",
    "disk_full", "disk_read_only",
]  # fmt: skip


class Decoder(Protocol):
    """Turns the bytes of an image file into what the encoder sees, off the event loop. Calls take turns."""

    async def decode_many(
        self, payloads: Sequence[bytes], on_decoded: Callable[[float], None], *, alone: bool = False
    ) -> list[Picture | InputError]:
        """N files -> N pictures of (S, S, 3), or UnsupportedImage, UndecodableImage, TooLarge.

        `on_decoded` hears of each, in any thread, how many seconds from now it took. `alone`: the caller
        has no other image at work, so that idle threads may help with this one.
        """
        ...


class ImageFetcher(Protocol):
    """Gets the image file that a URL names. A cancelled call lets go of its connection."""

    async def fetch(self, url: str, take: Callable[[int], None]) -> bytes:
        """`take` is called with a number of bytes before they are kept, and may raise.

        Raises InvalidValue for a URL that may not be fetched, UnfetchableImage, TooLarge, and Overloaded,
        which it counts, where too many are being fetched already.
        """
        ...


class Thumbnailer(Protocol):
    """Makes small pictures without metadata, off the event loop."""

    async def thumbnail(self, payload: bytes, size_px: int) -> bytes:
        """The longer side becomes at most `size_px`. Raises UnsupportedImage, UndecodableImage, TooLarge."""
        ...


class Tokenizer(Protocol):
    """Turns one text into token ids."""

    def ids(self, text: str) -> tuple[InputIds, bool]:
        """-> (L,) int32 unpadded, and whether it was truncated. Raises InvalidValue. Called off the loop."""
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

    async def require_there(self) -> None:
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
        news: Callable[[Sequence[PutResult]], News] | None = None,
    ) -> list[PutResult]:
        """Add N rows in order, and what jobs hear of the N results, in one transaction.

        A row that was there has an embedding of this identity afterwards, too. Raises NotFound for the
        collection, and for a job that has ended: it does so with its collection, and another one may have the
        name since. `news` is called in any thread.
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


class Metrics(Protocol):
    """Counts and times for the operator. Calls are cheap and never fail."""

    def count_request(self, route: str, code: int, seconds: float) -> None:
        """One answered request; `route` is the template, never the path."""
        ...

    def observe_stage(self, stage: Stage, seconds: float) -> None:
        """Time one item or request spent in one stage."""
        ...

    def observe_batch(self, encoder: EncoderName, n_items: int) -> None:
        """One batch went through an encoder."""
        ...

    def set_queue_items(self, encoder: EncoderName, n_items: int) -> None:
        """Items that wait for an encoder now."""
        ...

    def count_rejected(self, reason: Reason) -> None:
        """One request refused, or one try of a job."""
        ...

    def count_label_cache(self, n_hits: int, n_misses: int) -> None:
        """Labels looked up in the label cache."""
        ...

    def set_collection(self, collection: str, n_images: int | None, recall: float = 1.0) -> None:
        """The size of one collection, None when it is dropped, and what share of the nearest it finds."""
        ...

    def set_ready(self, ready: bool) -> None:
        """Whether requests should come here now."""
        ...

    def render(self) -> tuple[bytes, str]:
        """The text for the scraper, and its content type."""
        ...
