"""The values that calls return. They are frozen, and their fields have the names of the API."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from diptych_client.errors import ClientError

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

Json: TypeAlias = dict[str, Any]
Embedding: TypeAlias = "array[float]"
"""`array('f')` of embed_dim float32 numbers, unit norm; `numpy.asarray(embedding)` shares its memory."""


@dataclass(frozen=True)
class ModelRef:
    """The model version that made an answer, with its precision and its mode of decoding images."""

    name: str
    version: int
    precision: str
    decode: str = "exact"

    def __str__(self) -> str:
        kind = self.precision if self.decode == "exact" else f"{self.precision}, {self.decode} decoding"
        return f"{self.name}/{self.version} ({kind})"


@dataclass(frozen=True)
class EmbeddedItem:
    """The embedding of one text or image. `truncated`: the text was longer than the model reads.

    NumPy takes it as an array: `numpy.asarray(item)`.
    """

    embedding: Embedding
    truncated: bool = False

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the embedding as an array (D,) that shares its memory, unless asked otherwise."""
        row: NDArray[Any] = _numpy().frombuffer(self.embedding, dtype="float32")
        return row.astype(dtype or row.dtype, copy=bool(copy))


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one call, in the order of its arguments.

    >>> answer = client.embed(texts=["a cat", "a dog"], images=["cat.png"])
    >>> cosines = answer.image_matrix() @ answer.text_matrix().T  # (1, 2)
    >>> cosines.shape
    (1, 2)
    """

    model: ModelRef
    texts: tuple[EmbeddedItem, ...]
    images: tuple[EmbeddedItem, ...]

    def text_matrix(self) -> NDArray[numpy.float32]:
        """Return the embeddings of the texts as a matrix (N, D). Needs NumPy."""
        return _matrix(self.texts)

    def image_matrix(self) -> NDArray[numpy.float32]:
        """Return the embeddings of the images as a matrix (N, D). Needs NumPy."""
        return _matrix(self.images)


def _matrix(items: tuple[EmbeddedItem, ...]) -> NDArray[numpy.float32]:
    rows: NDArray[numpy.float32] = _numpy().zeros((0, 0), dtype="float32")
    return _numpy().stack([item.__array__() for item in items]) if items else rows


def _numpy() -> Any:
    import numpy  # noqa: PLC0415 - the client itself does not need it

    return numpy


@dataclass(frozen=True)
class Prediction:
    """One label of one image: `score` in [0, 1] and the cosine that it was computed from.

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
    """The predictions of a call. `data[i]` belongs to the i-th image."""

    model: ModelRef
    data: tuple[ClassifiedImage, ...]


@dataclass(frozen=True)
class Duplicate:
    """An image that was folded into a hit: `kind` is "bytes", "picture" or "near"."""

    id: str
    kind: str
    collection: str = ""


@dataclass(frozen=True)
class Hit:
    """One image that a search found. `relevance` is the probability that it is what was meant, None if
    the model is not calibrated.

    `duplicates` were folded into it by `collapse`.
    """

    id: str
    cosine: float
    relevance: float | None
    metadata: Json
    links: Mapping[str, str]
    duplicates: tuple[Duplicate, ...] = ()
    collection: str = ""


@dataclass(frozen=True)
class FacetValue:
    """A value of a metadata field, and how many of the counted hits or images have it."""

    value: str | int | float | bool | None
    count: int


@dataclass(frozen=True)
class Facet:
    """The most frequent values of a metadata field among the `n_hits` best hits."""

    field: str
    n_hits: int
    values: tuple[FacetValue, ...]


@dataclass(frozen=True)
class MetadataField:
    """One key of the metadata of a collection, on its top level, which `n_images` have.

    `kinds`: "text", "number", "boolean", "null", "list" and "object". `values`: the most frequent of the
    `n_distinct` values; of a list each element counts. `min` and `max` are None without numbers.
    """

    name: str
    n_images: int
    kinds: tuple[str, ...]
    n_distinct: int
    values: tuple[FacetValue, ...]
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class MetadataFields:
    """The most common of the `n_fields` fields of a collection. Of its `n_images`, `n_read` were counted."""

    n_images: int
    n_read: int
    n_fields: int
    fields: tuple[MetadataField, ...]


@dataclass(frozen=True)
class SearchResult:
    """The hits of a search, best first. `truncated`: a text of the query was longer than the model reads.

    `facets` has those that were asked for, in their order. `collection` is None if several were searched.
    """

    model: ModelRef
    collection: str | None
    hits: tuple[Hit, ...]
    truncated: bool
    facets: tuple[Facet, ...] = ()
    collections: tuple[str, ...] = ()


AddStatus: TypeAlias = Literal["created", "unchanged", "replaced", "failed"]
Keep: TypeAlias = Literal["original", "none"]
KeyScope: TypeAlias = Literal["read", "write", "admin"]
"""Whether a collection keeps the files of added images."""


@dataclass(frozen=True)
class AddOutcome:
    """The outcome of the `index`-th image of an `add`. `error` is set if it failed."""

    index: int
    id: str | None
    status: AddStatus
    error: ClientError | None = None


@dataclass(frozen=True)
class JobOutcome:
    """The outcome of the `index`-th image of a job. `file` is its name in the archive."""

    index: int
    id: str | None
    status: AddStatus
    error: ClientError | None = None
    file: str | None = None


@dataclass(frozen=True)
class Job:
    """A job, which adds many images. `state` is "queued", "running", "done", "cancelled" or "failed".

    `counts`: numbers of finished items by status. `reason`: why it failed, or why it is waiting.
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
        """Whether the job has ended, in whatever state."""
        return self.finished_at is not None


@dataclass(frozen=True)
class JobPage:
    """One page of outcomes of a job. `next` is the `after` of the next page; None if there is none yet."""

    job: Job
    outcomes: tuple[JobOutcome, ...]
    next: int | None


@dataclass(frozen=True)
class ImageRecord:
    """One image of a collection. `created_at` is ISO 8601 in UTC. `kept`: the collection has its file.

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
class VersionRef:
    """One version of a model. `bundle`: the sha256 of its manifest, empty if the server does not tell it."""

    name: str
    version: int
    bundle: str = field(default="", kw_only=True, compare=False)

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    @property
    def exact(self) -> str:
        """The version with its content, such as "mine/4 (3fa1c0de)", where two may have one number."""
        return f"{self} ({self.bundle[:8]})" if self.bundle else str(self)


@dataclass(frozen=True)
class RolloutProgress:
    """How many images of a rollout are embedded. Rate and seconds left are None until they are known."""

    n_images: int
    n_embedded: int
    images_per_s: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True)
class ComparedVectors:
    """The version and precision of one side of a comparison.

    The server reproduces the golden outputs of the version with at least the cosine `golden_cosine_min`.
    """

    model: str
    version: int
    precision: str
    golden_cosine_min: float

    def __str__(self) -> str:
        return f"{self.model}/{self.version} ({self.precision})"


@dataclass(frozen=True)
class ChangedQuery:
    """A query, by a `text` or by the image `id`, and the ids of its first ten images on both sides.

    `overlap`: the share of the ten that both sides find.
    """

    overlap: float
    old: tuple[str, ...]
    new: tuple[str, ...]
    text: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class LabelQuality:
    """How well both sides find the labels in the metadata of images, as shares from 0 to 1.

    Accuracy: of `n_images` images, whose most similar label of `n_labels` is their own. Recall: of
    `n_label_queries` labels, whose search has an image with the label among the first ten.
    """

    label_field: str
    n_labels: int
    n_images: int
    n_label_queries: int
    old_accuracy: float
    new_accuracy: float
    old_recall_at_10: float
    new_recall_at_10: float


@dataclass(frozen=True)
class CollectionComparison:
    """What changes in one collection. `old` is None if nothing served yet.

    `coverage`: of the images that the old vectors find, the share that has new ones. `queries`: "recorded"
    texts, "sampled" images, or None; `overlap_at_10`: their mean. `changed`: those that change most.
    """

    collection: str
    n_images: int
    coverage: float
    new: ComparedVectors
    old: ComparedVectors | None = None
    queries: str | None = None
    n_queries: int = 0
    overlap_at_10: float | None = None
    changed: tuple[ChangedQuery, ...] = ()
    labels: LabelQuality | None = None


@dataclass(frozen=True)
class Comparison:
    """Two versions in each collection that has vectors of both. `unmet`: gates that do not pass."""

    collections: tuple[CollectionComparison, ...]
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """One move of the server, or of one `collection`, to the version `target`.

    `state` is "waiting", "discovered", "verified", "proven", "warmed", "embedding", "compared", in this
    order, and finally "active", "failed" or "cancelled"; then `reason` says why it failed or was cancelled.
    `stays`: collections that cannot move, and why. `comparison`: the new version beside the former one; in a
    list without the queries that change most.
    """

    id: str
    target: VersionRef
    state: str
    created_at: str
    collection: str | None = None
    precision: str | None = None
    now: bool = False
    progress: RolloutProgress | None = None
    stays: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    comparison: Comparison | None = None
    finished_at: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the rollout has ended, in whatever state."""
        return self.state in {"active", "failed", "cancelled"}


@dataclass(frozen=True)
class PreviousVersion(VersionRef):
    """The version that served before. Activating it is immediate while `n_lagging` is 0.

    `n_lagging`: images that have no vector of it yet. `memory_bytes` and `vector_bytes`:
    what its indexes take in memory and its vectors in the database. `weight_bytes` and `bundle_bytes`: about
    what its weights take in memory, and its files on the disk if the model repository has them no more.
    """

    n_lagging: int
    memory_bytes: int
    vector_bytes: int
    weight_bytes: int = 0
    bundle_bytes: int = 0


@dataclass(frozen=True)
class BrokenFolder:
    """A folder, file or link in the model repository that is no version or no model, and why."""

    folder: str
    reason: str


@dataclass(frozen=True)
class RolloutStatus:
    """What the server serves, what it served before, and the rollout that is under way.

    `policy`: "latest", it takes new versions of what it serves by itself; "manual", `activate` alone moves
    it; "pinned", its settings name the version. None from an older server, which moves by a restart only.
    `broken`: what lies beside the models of the repository and is none.
    """

    active: VersionRef | None
    policy: str | None
    previous: PreviousVersion | None = None
    rollout: Rollout | None = None
    broken: tuple[BrokenFolder, ...] = ()


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
class CollectionInfo:
    """A collection with its model, size and state.

    `state` is one of: "ready", it can be searched; "embedding", its images are being embedded again,
    `n_embedded` so far; "failed", embedding again ended early; "other_model", its model is not served;
    "other_version", rows without an image were made by another version; "no_precision", the served version
    lacks the collection's own precision or cannot be served in it. `reason` says why, and what to do.

    `precision` is its own, or "server" if it follows the server. `vectors` is the model version and precision
    that make its vectors, and `recall` the share of the nearest images that a search finds; both are None if
    that is not served. `n_kept` images have a file, of `kept_bytes` together. `index_device` is where it is
    searched, "cpu" or "cuda", and `index_reason` the reason; `index_device` is None from an older server.
    `memory_bytes`: of its vectors in memory; `load_s`: the seconds that reading them took, None if unknown.
    `stays`: why it does not follow the active version of its model. `rollout`: its move to other vectors.
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
    memory_bytes: int = 0
    load_s: float | None = None
    version: int | None = None
    stays: str = ""
    rollout: CollectionRollout | None = None


@dataclass(frozen=True)
class Deletion:
    """The number of deleted images. In a preview: of images that would be deleted, with the first `ids`."""

    n_images: int
    preview: bool
    ids: tuple[str, ...]


@dataclass(frozen=True)
class PrecisionCandidate:
    """A precision that the server tried at its start. Milliseconds per item are None if it was the only one.

    `error`: why it did not pass, or was not tried.
    """

    precision: str
    passed: bool
    image_ms: float | None
    text_ms: float | None
    error: str | None


@dataclass(frozen=True)
class Plan:
    """How a precision runs: parallel batches, largest batch sizes, and threads that decode images."""

    n_lanes: int
    image_batch_size: int
    text_batch_size: int
    n_decode_threads: int


@dataclass(frozen=True)
class PrecisionChoice:
    """The chosen precision, the reason, the candidates, and the plan by which it runs."""

    precision: str
    reason: str
    candidates: tuple[PrecisionCandidate, ...] = ()
    plan: Plan | None = None


@dataclass(frozen=True)
class ServingDevice:
    """The device of the encoders and the reason. `name` is the name of the GPU; None on the CPU."""

    provider: str
    name: str | None
    reason: str


@dataclass(frozen=True)
class TowerGraphs:
    """Whether batches of one tower run as CUDA graphs, and the reason."""

    captured: bool
    reason: str


@dataclass(frozen=True)
class CudaGraphs:
    """Whether batches of images and of texts run as CUDA graphs."""

    image: TowerGraphs
    text: TowerGraphs


@dataclass(frozen=True)
class TensorRt:
    """The state of TensorRT, "building", "serving" or "unavailable", and the reason."""

    state: str
    reason: str


@dataclass(frozen=True)
class RunningPrecision:
    """The runtime of a precision at the moment.

    `cuda_graphs` is None on the CPU. `tensorrt` is None if the server does not use it.
    """

    precision: str
    provider: str
    cuda_graphs: CudaGraphs | None = None
    tensorrt: TensorRt | None = None


@dataclass(frozen=True)
class Serving:
    """The precisions of the served version: for `embed` and `classify`, and for collections.

    `device` is None and `running` empty from an older server.
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
class Reliability:
    """How reliable relevance is for one kind of query, and on how many it was fitted.

    `error`: the expected calibration error; None if it was not measured.
    """

    error: float | None
    n_queries: int


@dataclass(frozen=True)
class Calibration:
    """What gives search hits a relevance. Kinds of query without a reliability have none.

    `n_background`: pictures that a query is compared with beside the collection.
    """

    n_background: int
    text: Reliability | None
    image: Reliability | None


@dataclass(frozen=True)
class ModelSummary:
    """A model of the repository with its versions. `active` is the served version; None if none is served.

    `ignored`: versions that cannot be served there, with the reasons. `broken`: what is no version.
    `loaded`: versions in memory, also those that made the vectors of collections. `bundle`: the sha256 of the
    manifest of the active version; `replaced`: the repository has other content under its number by now.
    `calibration`: that of the active version, or else of the latest; None if hits have no relevance.
    """

    name: str
    versions: tuple[int, ...]
    active: int | None
    serving: Serving | None = None
    ignored: tuple[IgnoredVersion, ...] = ()
    broken: tuple[BrokenFolder, ...] = ()
    loaded: tuple[int, ...] = ()
    bundle: str = ""
    replaced: bool = False
    calibration: Calibration | None = None


@dataclass(frozen=True)
class ModelVersion:
    """One version with its manifest (parity, metrics), or the error that makes it unreadable.

    `prompt_sets`: names for `templates` of `classify`. `serving`: None unless the version is active.
    `ignored`: why the server cannot serve it on its machine, if so. `calibration`: None if search hits have
    no relevance.
    """

    name: str
    version: int
    active: bool
    manifest: Json | None
    error: str | None
    prompt_sets: tuple[str, ...] = ()
    serving: Serving | None = None
    ignored: str | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class PushedVersion:
    """The version that the server has after a push, under its own number.

    `created`: it was not there before. `active`: it serves; a new one does once it is activated.
    """

    name: str
    version: int
    created: bool
    active: bool
    n_files: int
    n_bytes: int


@dataclass(frozen=True)
class ApiKey:
    """An API key without its token. `collections`: the only ones that it sees; None if it sees all.

    Times are ISO 8601. `prefix` is the public part of the token.
    """

    prefix: str
    name: str
    scopes: tuple[KeyScope, ...]
    collections: tuple[str, ...] | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None


@dataclass(frozen=True)
class CreatedKey(ApiKey):
    """A new API key. `key` is its token, which the server does not keep."""

    key: str = field(repr=False)


@dataclass(frozen=True)
class Caller:
    """What the key of this client may do. `key` is its name; None where no key is needed.

    `scopes`: all that it has. `collections`: the only ones that it sees; None if it sees all.
    """

    key: str | None
    scopes: tuple[KeyScope, ...]
    collections: tuple[str, ...] | None


@dataclass(frozen=True)
class ServerVersion:
    """The server and its model. `model`, `provider` and `embed_dim` are None while the model is loading.

    A server that is `read_only` refuses every change with 403. `caller` is None from an older server.
    """

    version: str
    model: ModelRef | None
    provider: str | None
    embed_dim: int | None
    default_collection: str
    read_only: bool = False
    caller: Caller | None = None


@dataclass(frozen=True)
class Readiness:
    """Whether the server is ready for requests, and if not, why."""

    ready: bool
    reason: str
