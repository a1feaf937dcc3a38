"""The values that pass between the parts of the server; knows nothing of how they are made or sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.image.preprocess import ImageInfo
from diptych.errors import DiptychError

Embedding = NDArray[np.float32]  # (D,), unit norm
Embeddings = NDArray[np.float32]  # (N, D), rows of unit norm
Pixels = NDArray[np.uint8]  # (S, S, 3) RGB, one prepared image
InputIds = NDArray[np.int32]  # (L,), one text, unpadded
Keys = NDArray[np.int64]  # (N,), row keys of the store and of the index
Metadata = dict[str, Any]  # a JSON object
NO_ROWS: Embeddings = np.empty((0, 0), np.float32)  # of any width

Outcome = Embedding | DiptychError  # what became of one submitted item


@dataclass(frozen=True)
class ModelInfo:
    """The model version that is served, in one precision. `identity` keys all that depends on its vectors."""

    name: str
    version: int
    precision: str
    decode: Literal["exact", "fast"]  # how JPEG files become pixels
    identity: str
    provider: str
    family: Literal["clip", "siglip"]
    embed_dim: int
    context_length: int
    logit_scale: float  # the multiplier, such as 100.0
    logit_bias: float
    image_size: int  # px, the side of the square the encoder sees
    prompts: Mapping[
        str, tuple[str, ...]
    ]  # named template sets, built-in ones too; "default" is always there


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """One decoded image file: what its header says, and what the encoder sees of it."""

    info: ImageInfo
    pixels: Pixels


@dataclass(frozen=True)
class TextEmbedding:
    """One text's embedding, and whether the text was cut to the context length."""

    embedding: Embedding
    truncated: bool
    n_tokens: int = 0  # start and end tokens included


TextOutcome = TextEmbedding | DiptychError


@dataclass(frozen=True)
class Prediction:
    """One label of one image. `score` is a probability, `cosine` the plain similarity.

    `truncated`: the label, in one of its templates at least, was longer than the model reads.
    """

    label: str
    score: float
    cosine: float
    truncated: bool = False


@dataclass(frozen=True)
class Hit:
    """One image found by a search. `relevance` is None until the model is calibrated."""

    id: str
    cosine: float
    relevance: float | None
    metadata: Metadata


Keep = Literal["original", "none"]  # what a collection does with the files of images that are added
SERVER = "server"  # as the precision of a collection: that which the server has for collections


@dataclass(frozen=True)
class ImageRecord:
    """What is stored of one image, but for its bytes and its embedding.

    Of a ready-made vector, `sha256` and `n_bytes` are those of its float32 numbers, and it has no size in
    pixels.
    """

    id: str
    collection: str
    sha256: str
    n_bytes: int
    media_type: str
    width: int  # px, as the file stores it: before EXIF turns the picture upright
    height: int  # px
    metadata: Metadata
    created_at: str  # ISO 8601, UTC
    kept: bool = True  # whether there is a file of it: an original, and thumbnails


@dataclass(frozen=True)
class NewImage:
    """One image to add. Without an id, the first 32 hex digits of the sha256 of its bytes are taken."""

    payload: bytes
    id: str | None = None
    metadata: Metadata | None = None


@dataclass(frozen=True)
class NewVector:
    """One ready-made vector to add. Without an id, one is made from its bytes as that of an image is."""

    vector: NDArray[np.float32]  # one dimension; neither its length nor its norm is checked yet
    id: str | None = None
    metadata: Metadata | None = None


@dataclass(frozen=True)
class VectorOrigin:
    """What made ready-made vectors. `precision`, `decode` and `identity` are None when nobody says."""

    name: str
    version: int
    precision: str | None = None
    decode: str | None = None
    identity: str | None = None


AddStatus = Literal["created", "unchanged", "replaced", "failed"]


@dataclass(frozen=True)
class AddOutcome:
    """What became of item `index` of an add. `error` is set exactly when the status is "failed"."""

    index: int
    id: str | None
    status: AddStatus
    error: DiptychError | None = None


@dataclass(frozen=True)
class Added:
    """What became of the items of an add, in their order, and what made their vectors."""

    model: ModelInfo
    outcomes: list[AddOutcome]


CollectionState = Literal["ready", "embedding", "failed", "other_model", "other_version", "no_precision"]


@dataclass(frozen=True)
class CollectionInfo:
    """One collection. Only a "ready" one can be searched.

    "embedding": images are being embedded again for the served identity, `n_embedded` so far.
    "failed": that ended early, for `reason`; it is tried again at the next start, or when it is given its
    precision anew.
    "other_model": it belongs to a model that this server does not serve; it can be read and deleted from.
    "other_version": some rows keep no image and have no vector of the served version, so that they cannot be
    found, nor embedded again.
    "no_precision": the served version lacks the precision that is its own, or it cannot be served here, for
    `reason`; it can be read, deleted from and given another precision.
    """

    name: str
    model: str
    n_images: int
    created_at: str  # ISO 8601, UTC
    keep: Keep = "original"
    precision: str = SERVER
    state: CollectionState = "ready"
    n_embedded: int = 0
    reason: str = ""


@dataclass(frozen=True)
class CollectionChange:
    """What is to become of one; None stays as it is. `keep` is for images that are added from then on."""

    name: str | None = None
    keep: Keep | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Sizes:
    """What is kept of the images of a collection; two images with the same bytes share one file."""

    n_kept: int = 0
    kept_bytes: int = 0


@dataclass(frozen=True)
class IndexPlace:
    """Where an index is searched, and why there."""

    device: Literal["cpu", "cuda"]
    reason: str


@dataclass(frozen=True)
class CollectionStats:
    """A collection with its sizes. `vectors` is what makes its vectors, None when that is not served.

    `recall`: the share of the nearest images that its index finds, at `index`.
    """

    info: CollectionInfo
    sizes: Sizes
    vectors: ModelInfo | None
    recall: float | None
    index: IndexPlace | None


@dataclass(frozen=True)
class Deletion:
    """How many images were deleted, or would be; then `ids` are those of the first of them."""

    n_images: int
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewRow:
    """One image as it goes into the store: described, embedded, its file already durable if it is kept."""

    id: str
    sha256: str
    n_bytes: int
    media_type: str
    width: int
    height: int
    metadata: Metadata | None  # None: no metadata was given, so an existing row keeps its own
    embedding: Embedding
    kept: bool = True
    made_by: str = ""  # the identity of what made the embedding


@dataclass(frozen=True)
class PutResult:
    """What the store did with one row. `released` is a sha256 that no row uses any more."""

    status: Literal["created", "unchanged", "replaced", "conflict"]
    key: int
    removed_key: int | None = None
    released: str | None = None


@dataclass(frozen=True)
class Removed:
    """Rows that left the store: their keys, and the sha256 that no row uses any more."""

    keys: tuple[int, ...] = ()
    released: tuple[str, ...] = ()
