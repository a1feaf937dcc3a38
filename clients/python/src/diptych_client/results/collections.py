"""Collections, with their model, size and state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from diptych_client.results.common import ModelRef

Keep: TypeAlias = Literal["original", "none"]
"""Whether a collection keeps the files of added images."""


@dataclass(frozen=True)
class CollectionRollout:
    """The rollout that a collection takes part in: `n_embedded` of its images have a new vector so far."""

    id: str
    model: str
    version: int
    precision: str
    state: str
    n_images: int
    n_embedded: int


@dataclass(frozen=True)
class Recall:
    """The share of the ten nearest images that searches find: by names of things that images show, by nouns
    that no image shows, and by images.
    """

    names: float
    nouns: float
    images: float


@dataclass(frozen=True)
class CollectionInfo:
    """A collection with its model, size and state.

    `state` is one of: "ready", it can be searched; "embedding", its images are being embedded, `n_embedded`
    so far; "unserved", nothing there makes vectors like its own. `reason` says why, or why the last try to
    embed it ended early.

    `vectors` is the model version and precision that make its vectors, and `recall` the share of the nearest
    images that a search finds, the lowest of `recall_by`; all are None if that is not served. `n_kept` images
    have a file, of `kept_bytes` together. `index_kind` is "flat" if a search compares all images, else "ivf",
    `index_device` where it is searched, "cpu" or "cuda", and `index_reason` the reason; kind, device and
    `recall_by` are None from an older server.
    `memory_bytes`: of its vectors in memory; `load_s`: the seconds that reading them took, None if unknown.
    `text_fields`: the dotted paths of the metadata whose words can be searched, None for all; the words of
    `n_text_indexed` images can be found so far.
    `stays`: why it does not follow the version that the server serves. `rollout`: its move to other vectors.
    """

    name: str
    model: str
    n_images: int
    created_at: str
    state: str
    n_embedded: int
    reason: str = ""
    keep: str = "original"
    n_kept: int = 0
    kept_bytes: int = 0
    text_fields: tuple[str, ...] | None = None
    n_text_indexed: int | None = None
    vectors: ModelRef | None = None
    recall: float | None = None
    recall_by: Recall | None = None
    index_kind: str | None = field(default=None, metadata={"keys": ("index", "kind")})
    index_device: str | None = field(default=None, metadata={"keys": ("index", "device")})
    index_reason: str = field(default="", metadata={"keys": ("index", "reason")})
    memory_bytes: int = 0
    load_s: float | None = None
    version: int | None = None
    stays: str = ""
    rollout: CollectionRollout | None = None
