"""Images of a collection: what adding them did, their records, duplicates and deletion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from diptych_client.errors import ClientError
from diptych_client.results.common import Json

AddStatus: TypeAlias = Literal["created", "unchanged", "replaced", "failed"]


@dataclass(frozen=True)
class AddOutcome:
    """The outcome of the `index`-th image of an `add`. `error` is set if it failed.

    `metadata_differs`: the image is "unchanged" and lacks metadata that was given; `replace` would store it.
    """

    index: int
    id: str | None
    status: AddStatus
    error: ClientError | None = None
    metadata_differs: bool = False


@dataclass(frozen=True)
class ImageRecord:
    """One image of a collection. `created_at` is ISO 8601 in UTC. `kept`: the collection has its file, which
    is `referenced` if it stays in a library.

    For a ready-made vector, `n_bytes` and `sha256` are those of its numbers, and `width` and `height` are 0.
    """

    id: str
    collection: str
    sha256: str
    n_bytes: int
    media_type: str
    width: int
    height: int
    metadata: Json
    created_at: str
    kept: bool = True
    referenced: bool = False


@dataclass(frozen=True)
class ImagePage:
    """One page of images by id. `next` is the `after` of the following page; None on the last page.

    `total`: images on all pages; None from an older server.
    """

    images: tuple[ImageRecord, ...]
    next: str | None
    total: int | None = None


@dataclass(frozen=True)
class DuplicateGroup:
    """Images with the same bytes, or of the same picture as the first one; at most 100 of the `n_images`."""

    n_images: int
    images: tuple[ImageRecord, ...]


@dataclass(frozen=True)
class DuplicatePage:
    """A page of the `n_groups` groups of a collection. `next` is the `after` of the following page, or None.

    `n_duplicates` images could go if one of each group stayed. `n_unknown` images are compared by their bytes
    only, for want of a picture hash.
    """

    groups: tuple[DuplicateGroup, ...]
    next: str | None
    n_groups: int
    n_duplicates: int
    n_unknown: int


@dataclass(frozen=True)
class Deletion:
    """The number of deleted images. In a preview: of images that would be deleted, with the first `ids`."""

    n_images: int
    preview: bool
    ids: tuple[str, ...]
