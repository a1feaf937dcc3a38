"""What calls on collections answer, as types. Knows nothing of how the values came to be."""

from typing import Any

from pydantic import BaseModel, Field

from diptych.core.types import AddStatus, CollectionInfo, CollectionState, ImageRecord
from diptych.http.answers import Links, ModelRef
from diptych.http.problems import Problem


class CollectionAnswer(BaseModel):
    """One collection; only a "ready" one can be searched, "embedding" counts up to n_images.

    "failed": embedding ended early, `reason` says why; it is tried again when the server starts.
    """

    name: str
    model: str
    n_images: int
    created_at: str = Field(description="ISO 8601, UTC")
    state: CollectionState
    n_embedded: int
    reason: str = Field(description='why the state is "failed", else empty')

    @classmethod
    def of(cls, info: CollectionInfo) -> "CollectionAnswer":
        """The same, for the wire."""
        return cls.model_validate(info, from_attributes=True)


class CollectionList(BaseModel):
    """All collections by name."""

    collections: list[CollectionAnswer]


class AddOutcomeAnswer(BaseModel):
    """What became of one image. It is durable and searchable unless `failed`; then `error` says why."""

    index: int
    id: str | None
    status: AddStatus
    error: Problem | None


class AddAnswer(BaseModel):
    """One outcome per image, in the order of the request."""

    model: ModelRef
    collection: str
    outcomes: list[AddOutcomeAnswer]


class ImageAnswer(BaseModel):
    """What is known of one image."""

    id: str
    collection: str
    sha256: str
    n_bytes: int
    media_type: str
    width: int = Field(description="pixels as stored in the file, before EXIF turns the picture upright")
    height: int = Field(description="pixels as stored in the file, before EXIF turns the picture upright")
    metadata: dict[str, Any]
    created_at: str = Field(description="ISO 8601, UTC")
    links: Links

    @classmethod
    def of(cls, record: ImageRecord) -> "ImageAnswer":
        """The record with its links."""
        return cls(**vars(record), links=Links.of(record.collection, record.id))


class ImagePage(BaseModel):
    """Some images by id; `next` is the `after` of the page that follows, null on the last."""

    images: list[ImageAnswer]
    next: str | None
