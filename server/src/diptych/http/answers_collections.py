"""What calls on collections answer, as types. Knows nothing of how the values came to be."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from diptych.core.types import AddStatus, CollectionState, CollectionStats, ImageRecord, Keep
from diptych.http.answers import Links, ModelRef
from diptych.http.errors.problem_json import Problem


class IndexResponse(BaseModel):
    """Where a collection is searched, and why there; filtered searches are the CPU's everywhere."""

    device: Literal["cpu", "cuda"]
    reason: str


class CollectionResponse(BaseModel):
    """One collection; only a "ready" one can be searched, "embedding" counts up to n_images.

    "failed": embedding ended early, `reason` says why; it is tried again when the server starts, or when the
    collection is given its precision anew.
    "other_version": it has rows without an image that another version made; `reason` says what to do.
    "no_precision": the served version lacks its precision, or cannot serve it here; `reason` says more.
    """

    name: str
    model: str
    n_images: int
    created_at: str = Field(description="ISO 8601, UTC")
    keep: Keep = Field(description="what becomes of the files of images that are added")
    precision: str = Field(description='its own, or "server": see `vectors` for which one that is')
    state: CollectionState
    n_embedded: int
    reason: str = Field(description='why it is "failed", "other_version" or "no_precision", else empty')
    n_kept: int = Field(description="images whose file is there")
    kept_bytes: int = Field(description="bytes of those; images with the same bytes share one file")
    vectors: ModelRef | None = Field(description="what makes its vectors; null when that is not served")
    recall: float | None = Field(
        description="share of the nearest images that a search finds: 1 if exact, else as measured"
    )
    index: IndexResponse | None = Field(description="where it is searched; null when that is not served")

    @classmethod
    def of(cls, stats: CollectionStats) -> "CollectionResponse":
        """The same, for the wire."""
        vectors = None if stats.vectors is None else ModelRef.of(stats.vectors)
        index = None if stats.index is None else IndexResponse(**vars(stats.index))
        told = {**vars(stats.info), **vars(stats.sizes)}
        return cls(**told, vectors=vectors, recall=stats.recall, index=index)


class CollectionList(BaseModel):
    """All collections by name."""

    collections: list[CollectionResponse]
    database_bytes: int = Field(
        description="the database that they share and its log, as on the disk; without image files"
    )


class DeletionResponse(BaseModel):
    """How many images were deleted. In a preview: how many would be, and the `ids` of the first of them."""

    n_images: int
    preview: bool
    ids: list[str]


class AddOutcomeResponse(BaseModel):
    """What became of one image. It is durable and searchable unless `failed`; then `error` says why."""

    index: int
    id: str | None
    status: AddStatus
    error: Problem | None


class AddResponse(BaseModel):
    """One outcome per image, in the order of the request."""

    model: ModelRef
    collection: str
    outcomes: list[AddOutcomeResponse]


class ImageResponse(BaseModel):
    """What is known of one image. Of a ready-made vector: bytes and sha256 of its numbers, and no pixels."""

    id: str
    collection: str
    sha256: str
    n_bytes: int
    media_type: str
    width: int = Field(description="pixels as stored in the file, before EXIF turns the picture upright")
    height: int = Field(description="pixels as stored in the file, before EXIF turns the picture upright")
    metadata: dict[str, Any]
    created_at: str = Field(description="ISO 8601, UTC")
    kept: bool = Field(description="whether there is a file of it: an original and thumbnails")
    links: Links

    @classmethod
    def of(cls, record: ImageRecord) -> "ImageResponse":
        """The record with its links."""
        return cls(**vars(record), links=Links.of(record.collection, record.id))


class FoundImages(BaseModel):
    """Those of the images that were asked for that are there and can be found in a search, by id."""

    images: list[ImageResponse]


class ImagePage(BaseModel):
    """Some images by id; `next` is the `after` of the page that follows, null on the last."""

    images: list[ImageResponse]
    next: str | None
