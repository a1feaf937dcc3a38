"""The values that pass between the parts of the server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.image.preprocess import DecodeMode, ImageInfo
from diptych.errors import DiptychError

Embedding = NDArray[np.float32]  # (D,), unit norm
Embeddings = NDArray[np.float32]  # (N, D), rows of unit norm
Pixels = NDArray[np.uint8]  # (S, S, 3) RGB, one prepared image
InputIds = NDArray[np.int32]  # (L,), one text, unpadded
Keys = NDArray[np.int64]  # (N,), row keys of the store and of the index
Metadata = dict[str, Any]  # a JSON object
TextFields = tuple[str, ...] | None  # dotted paths of the fields whose words are indexed; None: all
NO_ROWS: Embeddings = np.empty((0, 0), np.float32)  # of any width

Outcome = Embedding | DiptychError  # the outcome of one submitted item


@dataclass(frozen=True)
class VersionRef:
    """One version of a model.

    `bundle` is the sha256 of its manifest, since a folder may have been replaced by one of the same number.
    """

    name: str
    version: int
    bundle: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    @property
    def exact(self) -> str:
        """The version with its content, such as "everyday/2 (3fa1c0de)", where two may have one number."""
        return f"{self} ({self.bundle[:8]})"


@dataclass(frozen=True)
class Target:
    """A version of a model in one precision and decode mode.

    It makes the vectors of one identity.
    """

    ref: VersionRef
    precision: str
    decode: DecodeMode

    def __str__(self) -> str:
        return f"{self.ref} in {self.precision}"

    @property
    def exact(self) -> str:
        """The target with the content of its version, where two may have one number."""
        return f"{self.ref.exact} in {self.precision}"


@dataclass(frozen=True)
class ModelInfo:
    """The served model version in one precision. `identity` keys everything that depends on its vectors."""

    name: str
    version: int
    precision: str
    decode: DecodeMode  # how JPEG files become pixels
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
    bundle: str = ""  # sha256 of the manifest
    matryoshka_dimensions: tuple[int, ...] = ()  # to which embeddings may be cut and normalised again

    @property
    def ref(self) -> VersionRef:
        """The version, without its precision."""
        return VersionRef(self.name, self.version, self.bundle)

    @property
    def target(self) -> Target:
        """The version with its precision."""
        return Target(self.ref, self.precision, self.decode)


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """One decoded image file: what its header says, and the pixels that the encoder sees."""

    info: ImageInfo
    pixels: Pixels


@dataclass(frozen=True)
class TextEmbedding:
    """One text's embedding, and whether the text was truncated to the context length."""

    embedding: Embedding
    truncated: bool
    n_tokens: int = 0  # start and end tokens included


TextOutcome = TextEmbedding | DiptychError


@dataclass(frozen=True)
class Prediction:
    """One label of one image. `score` is a probability, `cosine` the plain similarity.

    `truncated`: in one of its templates at least, the label was longer than the model reads.
    """

    label: str
    score: float
    cosine: float
    truncated: bool = False


@dataclass(frozen=True)
class Duplicate:
    """An image with the same bytes as a hit, the same picture in another file, or an image near to it."""

    id: str
    kind: Literal["bytes", "picture", "near"]
    collection: str


MatchedBy = Literal["words", "meaning"]


@dataclass(frozen=True)
class Hit:
    """One image found by a search. `relevance` is a probability, None if the model is not calibrated.

    `duplicates` are worse hits that were folded into it. `matched` is what found it: the words of the query,
    which are in the fields `matched_fields`, or its meaning; neither, if it is only the nearest image.
    """

    id: str
    cosine: float
    relevance: float | None
    metadata: Metadata
    key: int
    sha256: str
    collection: str
    duplicates: tuple[Duplicate, ...] = ()
    matched: tuple[MatchedBy, ...] = ()
    matched_fields: tuple[str, ...] = ()


# What a collection does with the files of added images. "reference": those of its library stay where they
# are; others are kept.
Keep = Literal["original", "none", "reference"]
ExifLevel = Literal["none", "basic", "place"]  # see core.collections.metadata.exif


@dataclass(frozen=True)
class ImageRecord:
    """The stored record of one image, without its bytes and its embedding.

    For a ready-made vector, `sha256` and `n_bytes` are those of its float32 numbers, and width and height are
    0.
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
    kept: bool = True  # whether its file is kept: an original, and thumbnails
    referenced: bool = False  # whether it stays in a library


@dataclass(frozen=True)
class NewImage:
    """One image to add. The default id is the first 32 hex digits of the sha256 of its bytes."""

    payload: bytes
    id: str | None = None
    metadata: Metadata | None = None
    referenced: bool = False  # its file stays in a library


@dataclass(frozen=True)
class NewVector:
    """One ready-made vector to add. The default id is derived from its bytes, as that of an image is."""

    vector: NDArray[np.float32]  # one dimension; neither its length nor its norm is checked yet
    id: str | None = None
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class ImageContent:
    """The hashes of the image `key` of a collection; `picture_hash` is None while it is unknown."""

    key: int
    id: str
    sha256: str
    kept: bool
    picture_hash: bytes | None


@dataclass(frozen=True)
class StoredImage:
    """An image of a collection. `collection` may be None where only one can be meant."""

    id: str
    collection: str | None = None


@dataclass(frozen=True)
class VectorOrigin:
    """The source of ready-made vectors. `precision`, `decode` and `identity` are None if unknown."""

    name: str
    version: int
    precision: str | None = None
    decode: str | None = None
    identity: str | None = None


AddStatus = Literal["created", "unchanged", "replaced", "failed"]


@dataclass(frozen=True)
class AddOutcome:
    """The outcome of item `index` of an add. `error` is set exactly when the status is "failed".

    `metadata_differs`: the image is "unchanged", and its metadata lacks what was given.
    """

    index: int
    id: str | None
    status: AddStatus
    error: DiptychError | None = None
    metadata_differs: bool = False


@dataclass(frozen=True)
class Added:
    """The outcomes of the items of an add, in order, and the model that made their vectors."""

    model: ModelInfo
    outcomes: list[AddOutcome]


CollectionState = Literal["ready", "embedding", "unserved"]


@dataclass(frozen=True)
class CollectionInfo:
    """One collection. Only a "ready" one can be searched. `stays`: why it does not follow the version that
    the server serves, empty if it does. The other states:

    "embedding": images are being embedded for the served version, `n_embedded` so far. With a `reason`, the
    last try ended early; it is tried again, at first each minute.
    "unserved": nothing here makes vectors like its own, for `reason`; it can be read and deleted from.
    """

    number: int  # which refers to it in the store, and is never used again
    name: str
    model: str
    n_images: int
    created_at: str  # ISO 8601, UTC
    keep: Keep = "original"
    state: CollectionState = "ready"
    n_embedded: int = 0
    reason: str = ""
    stays: str = ""
    identity: str | None = None  # of the vectors that answer searches
    previous_identity: str | None = None  # of the vectors that are kept for a rollback
    ref: VersionRef | None = None  # the version of these vectors, as far as it was stored
    text_fields: TextFields = None
    change: int = 0  # the number of the last change of its rows
    as_of: int = 0  # the last write of the database that `n_images` counts, see `Peers`


@dataclass(frozen=True)
class CollectionChange:
    """A change of a collection; None keeps a value. `keep` applies to images that are added from then on.

    `text_fields` counts if `sets_text_fields`: None has a meaning of its own there.
    """

    name: str | None = None
    keep: Keep | None = None
    text_fields: TextFields = None
    sets_text_fields: bool = False


@dataclass(frozen=True)
class Sizes:
    """The kept files of the images of a collection; images with the same bytes share one file.

    `n_unindexed`: images whose words cannot be found yet.
    """

    n_kept: int = 0
    kept_bytes: int = 0
    n_unindexed: int = 0


@dataclass(frozen=True)
class IndexPlacement:
    """The device that an index is searched on, and why; `kind`: all rows are compared, or inverted lists."""

    device: Literal["cpu", "cuda"]
    reason: str
    kind: Literal["flat", "ivf"] = "flat"


@dataclass(frozen=True)
class IndexRecall:
    """The share of the ten nearest images that searches find: by names of things that the images show, by
    nouns that no image shows, and by images.
    """

    names: float = 1.0
    nouns: float = 1.0
    images: float = 1.0

    @property
    def lowest(self) -> float:
        """The lowest of them."""
        return min(self.names, self.nouns, self.images)

    def __str__(self) -> str:
        by = f"{self.names:.1%} of the nearest by names, {self.nouns:.1%} by other nouns"
        return f"{by}, {self.images:.1%} by images"


EXACT = IndexRecall()  # every row is compared


@dataclass(frozen=True)
class CollectionStats:
    """A collection with its sizes. `vectors` is the model that makes its vectors, None if that is not served.

    `recall`: of its index; `index`: what that index is and where it is searched; `memory_bytes`: of the
    vectors of all its indexes; `load_s`: how long reading the vectors took, None if
    none were stored when the index was opened.
    """

    info: CollectionInfo
    sizes: Sizes
    vectors: ModelInfo | None
    recall: IndexRecall | None
    index: IndexPlacement | None
    memory_bytes: int = 0
    load_s: float | None = None


@dataclass(frozen=True)
class Deletion:
    """How many images were deleted, or would be; for a preview, `ids` are those of the first ones."""

    n_images: int
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewRow:
    """One image as it goes into the store: described and embedded, its file already durable if it is kept."""

    id: str
    sha256: str
    n_bytes: int
    media_type: str
    width: int
    height: int
    metadata: Metadata | None  # None: no metadata was given, so an existing row keeps its own
    embedding: Embedding
    kept: bool = True  # whether its file is kept, in the data folder or `referenced` in a library
    identity: str = ""  # of the embedding
    referenced: bool = False
    picture_hash: bytes | None = None  # see core.collections.stored.duplicates; None: unknown
    exif: Metadata | None = None  # what its file says; None for a ready-made vector, which has no file


@dataclass(frozen=True)
class PutResult:
    """The result of storing one row. `released` is a sha256 that no row uses any more.

    `metadata_differs`: as in AddOutcome.
    """

    status: Literal["created", "unchanged", "replaced", "conflict"]
    key: int
    removed_key: int | None = None
    released: str | None = None
    metadata_differs: bool = False


@dataclass(frozen=True)
class Written:
    """The results of storing N rows, in order, and the change of the collection that wrote them."""

    results: list[PutResult]
    change: int


@dataclass(frozen=True)
class WrittenVectors:
    """The keys of the rows that still existed and got an embedding, and the change that wrote these."""

    keys: list[int]
    change: int


@dataclass(frozen=True, eq=False)
class VectorPage:
    """Embeddings (N, D) of N rows by key, ascending; `damaged` are the keys of rows whose own is damaged.

    `change`: of the collection when the page was read. What was written meanwhile comes again when reading
    goes on after the change of the first page.
    """

    keys: list[int]
    rows: Embeddings
    damaged: list[int]
    change: int


@dataclass(frozen=True, eq=False)
class PassingKeys:
    """The keys of rows that pass a filter, ascending, and the change of the collection that was read."""

    keys: Keys
    change: int


@dataclass(frozen=True, eq=False)
class WordMatches:
    """The rows that a query of words matches, best first: their keys (N,) and scores (N,), larger is better.

    `change`: of the collection that was read. Of `n_images` rows the words of `n_indexed` can be found: less
    than all while rows that were there before are still being indexed.
    """

    keys: Keys
    scores: NDArray[np.float64]
    change: int
    n_indexed: int
    n_images: int


@dataclass(frozen=True)
class Removed:
    """Rows that left the store: their keys, the sha256 of files that no row uses any more, and the change of
    the collection that removed them.
    """

    keys: tuple[int, ...]
    released: tuple[str, ...]
    change: int


@dataclass(frozen=True)
class DatabaseReport:
    """The state of a database, as one of its servers sees it: connections of that server, outages since its
    start, and the servers that live. `n_behind`: writes that the server does not know yet. The last two are
    None while the database is out of reach.
    """

    n_connections: int
    n_connections_in_use: int
    n_outages: int
    is_available: bool
    write: int
    n_behind: int | None
    n_servers: int | None
