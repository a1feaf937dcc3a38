"""What calls return: frozen values with the server's own names. Knows nothing of HTTP."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from diptych_client.errors import ClientError

Json: TypeAlias = dict[str, Any]
Embedding: TypeAlias = "array[float]"
"""`array('f')` of embed_dim float32 numbers, unit norm; `numpy.asarray(embedding)` shares its memory."""


@dataclass(frozen=True)
class ModelRef:
    """The model version that made an answer, in which precision and from images decoded how."""

    name: str
    version: int
    precision: str
    decode: str = "exact"

    def __str__(self) -> str:
        kind = self.precision if self.decode == "exact" else f"{self.precision}, {self.decode} decoding"
        return f"{self.name}/{self.version} ({kind})"


@dataclass(frozen=True)
class EmbeddedItem:
    """One text or image; `truncated` says that the text was longer than the model reads."""

    embedding: Embedding
    truncated: bool = False


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one call, in the order of its arguments."""

    model: ModelRef
    texts: tuple[EmbeddedItem, ...]
    images: tuple[EmbeddedItem, ...]


@dataclass(frozen=True)
class Prediction:
    """One label for one image: `score` in [0, 1] and the cosine it was made from.

    `truncated`: the label was longer than the model reads.
    """

    label: str
    score: float
    cosine: float
    truncated: bool = False


@dataclass(frozen=True)
class ClassifiedImage:
    """The labels of one image, best first."""

    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class Classification:
    """`data[i]` belongs to the i-th image."""

    model: ModelRef
    data: tuple[ClassifiedImage, ...]


@dataclass(frozen=True)
class Hit:
    """One image found. `relevance` is None until the model's cosines are calibrated."""

    id: str
    cosine: float
    relevance: float | None
    metadata: Json
    links: Mapping[str, str]


@dataclass(frozen=True)
class SearchResult:
    """Hits, best first. `truncated` says that a text of the query was longer than the model reads."""

    model: ModelRef
    collection: str
    hits: tuple[Hit, ...]
    truncated: bool


AddStatus: TypeAlias = Literal["created", "unchanged", "replaced", "failed"]
Keep: TypeAlias = Literal["original", "none"]
"""What a collection does with the files of images that are added."""


@dataclass(frozen=True)
class AddOutcome:
    """What became of the `index`-th image of an `add`; `error` is set when it failed."""

    index: int
    id: str | None
    status: AddStatus
    error: ClientError | None = None


@dataclass(frozen=True)
class JobOutcome:
    """What became of the `index`-th image of a job; `file` is its name in the archive."""

    index: int
    id: str | None
    status: AddStatus
    error: ClientError | None = None
    file: str | None = None


@dataclass(frozen=True)
class Job:
    """A long add. `state` is "queued", "running", "done", "cancelled" or "failed".

    `counts`: items that are done, by status. `reason`: why it failed, or does not get on.
    """

    id: str
    collection: str
    replace: bool
    state: str
    n_items: int
    n_done: int
    counts: Mapping[str, int]
    created_at: str
    finished_at: str | None
    reason: str

    @property
    def has_ended(self) -> bool:
        """Nothing more becomes of it."""
        return self.finished_at is not None


@dataclass(frozen=True)
class JobPage:
    """Some outcomes of a job; `next` is the `after` of the following page, None when no more is known."""

    job: Job
    outcomes: tuple[JobOutcome, ...]
    next: int | None


@dataclass(frozen=True)
class ImageRecord:
    """One image of a collection. `created_at` is ISO 8601 in UTC; `kept`: there is a file of it.

    Of a ready-made vector, bytes and sha256 are those of its numbers, and it has no size in pixels.
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


@dataclass(frozen=True)
class ImagePage:
    """Some images by id; `next` is the `after` of the following page, None on the last."""

    images: tuple[ImageRecord, ...]
    next: str | None


@dataclass(frozen=True)
class CollectionInfo:
    """A collection, the model name it belongs to and its size.

    `state` is "ready" when it can be searched; "embedding" while its images are embedded again, `n_embedded`
    so far; "failed" when that ended early; "other_model" when its model is not served; "other_version" when
    rows without an image were made by another version; "no_precision" when the version that serves lacks the
    precision that is its own, or cannot be served in it. `reason` says why, and what to do.
    `precision` is its own, or "server" when it follows the server's; `vectors` names which one that is.
    `n_kept` images have their file, of `kept_bytes`. `vectors` is what makes its vectors, and `recall` the
    share of the nearest images that a search finds; both are None when that is not served. `index_device` is
    where it is searched, "cpu" or "cuda", and `index_reason` why there; None from a server that does not say.
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
    vectors: ModelRef | None = None
    recall: float | None = None
    precision: str = "server"
    index_device: str | None = None
    index_reason: str = ""


@dataclass(frozen=True)
class Deletion:
    """How many images were deleted. In a preview: how many would be, and the `ids` of the first of them."""

    n_images: int
    preview: bool
    ids: tuple[str, ...]


@dataclass(frozen=True)
class PrecisionCandidate:
    """A precision that the server tried at its start: milliseconds per item, None when it had no rival.

    `error` says why it did not pass, or was not tried.
    """

    precision: str
    passed: bool
    image_ms: float | None
    text_ms: float | None
    error: str | None


@dataclass(frozen=True)
class Plan:
    """How a precision runs: batches side by side, their largest sizes, and threads that decode images."""

    n_lanes: int
    image_batch_size: int
    text_batch_size: int
    n_decode_threads: int


@dataclass(frozen=True)
class PrecisionChoice:
    """A precision, why it was chosen and from what, and how it runs on the server's machine."""

    precision: str
    reason: str
    candidates: tuple[PrecisionCandidate, ...] = ()
    plan: Plan | None = None


@dataclass(frozen=True)
class ServingDevice:
    """Where the server's encoders run, and why there; `name` is that of the GPU, None on the CPU."""

    provider: str
    name: str | None
    reason: str


@dataclass(frozen=True)
class TowerGraphs:
    """Whether batches of one tower run as CUDA graphs, and why so."""

    captured: bool
    reason: str


@dataclass(frozen=True)
class CudaGraphs:
    """How batches on a GPU run, images and texts."""

    image: TowerGraphs
    text: TowerGraphs


@dataclass(frozen=True)
class TensorRt:
    """How far TensorRT is: "building", "serving" or "unavailable", and why."""

    state: str
    reason: str


@dataclass(frozen=True)
class RunningPrecision:
    """What runs a precision at the moment.

    `cuda_graphs` is None on the CPU, `tensorrt` where it is not asked for.
    """

    precision: str
    provider: str
    cuda_graphs: CudaGraphs | None = None
    tensorrt: TensorRt | None = None


@dataclass(frozen=True)
class Serving:
    """The precisions of the version that serves: for `embed` and `classify`, and for collections.

    `device` is None, and `running` empty, where a server does not say yet on what it runs.
    """

    embed: PrecisionChoice
    collections: PrecisionChoice
    device: ServingDevice | None = None
    running: tuple[RunningPrecision, ...] = ()


@dataclass(frozen=True)
class IgnoredVersion:
    """A version that the server cannot serve on its machine, such as one built for another GPU."""

    version: int
    reason: str


@dataclass(frozen=True)
class ModelSummary:
    """A model of the repository: its versions, and which of them serves (None: it does not), and how.

    `ignored`: versions that cannot be served there, and why.
    """

    name: str
    versions: tuple[int, ...]
    active: int | None
    serving: Serving | None = None
    ignored: tuple[IgnoredVersion, ...] = ()


@dataclass(frozen=True)
class ModelVersion:
    """One version: its manifest with parity and metrics, or the error that keeps it from being read.

    `prompt_sets`: the names that `templates` of `classify` may give. `serving`: None unless it is active.
    `ignored`: why the server cannot serve it on its machine, if so.
    """

    name: str
    version: int
    active: bool
    manifest: Json | None
    error: str | None
    prompt_sets: tuple[str, ...] = ()
    serving: Serving | None = None
    ignored: str | None = None


@dataclass(frozen=True)
class ServerVersion:
    """What runs at the URL. `model`, `provider` and `embed_dim` are None while the model is being loaded."""

    version: str
    model: ModelRef | None
    provider: str | None
    embed_dim: int | None
    default_collection: str


@dataclass(frozen=True)
class Readiness:
    """Whether the server takes requests, and why not."""

    ready: bool
    reason: str
