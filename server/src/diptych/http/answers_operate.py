"""What the models and operators' calls answer, as types. Knows nothing of how the values came to be."""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from diptych.core.tuning.precision import Serving
from diptych.http.answers import ModelRef


class CandidateResponse(BaseModel):
    """One precision that was tried. Times are of one item out of a batch, null when there was no rival."""

    precision: str
    image_ms: float | None
    text_ms: float | None
    passed: bool
    error: str | None = Field(description="why it did not pass, or was not tried")


class PlanResponse(BaseModel):
    """How it runs: `n_lanes` batches side by side, their largest sizes, and threads that decode images."""

    n_lanes: int
    image_batch_size: int
    text_batch_size: int
    n_decode_threads: int


class PrecisionResponse(BaseModel):
    """The precision for one purpose, why, and how this machine is shared out for it."""

    precision: str
    reason: str
    plan: PlanResponse | None


class ChoiceResponse(PrecisionResponse):
    """A precision with all that it was chosen from."""

    candidates: list[CandidateResponse]


class DeviceResponse(BaseModel):
    """Where the encoders run, and why there: what a fallback to the CPU lacked stands in `reason`."""

    provider: str = Field(description="of onnxruntime, such as CUDAExecutionProvider, or TensorRT")
    name: str | None = Field(description="of the GPU; null on the CPU")
    reason: str


class TowerGraphsResponse(BaseModel):
    """Whether batches of one tower run as CUDA graphs, captured once for each shape, and why so."""

    captured: bool
    reason: str


class CudaGraphsResponse(BaseModel):
    """How batches on a GPU run: each tower is captured or not for reasons of its own."""

    image: TowerGraphsResponse
    text: TowerGraphsResponse


class TensorRtResponse(BaseModel):
    """How far TensorRT is: `unavailable` leaves serving what served before, and `reason` says why."""

    state: Literal["building", "serving", "unavailable"]
    reason: str


class RunningResponse(BaseModel):
    """What runs one precision at this moment."""

    precision: str
    provider: str = Field(description="of onnxruntime, such as CUDAExecutionProvider")
    cuda_graphs: CudaGraphsResponse | None = Field(description="null on the CPU")
    tensorrt: TensorRtResponse | None = Field(description="null where it is not asked for")


class ServingResponse(BaseModel):
    """`embed` is for /embed, /classify and /v1; `collections` for what they hold and for /search.

    `running`: all precisions that are loaded, those that single collections ask for included.
    """

    embed: ChoiceResponse
    collections: PrecisionResponse
    device: DeviceResponse
    running: list[RunningResponse]

    @classmethod
    def of(cls, serving: Serving | None) -> "ServingResponse | None":
        """The same, for the wire."""
        return None if serving is None else cls.model_validate(asdict(serving))


class IgnoredVersion(BaseModel):
    """A version that this server cannot serve on its machine, such as one built for another GPU."""

    version: int
    reason: str


class ModelResponse(BaseModel):
    """One name of the repository. `active`: the version that answers now, in the precisions of `serving`.

    `source`: where the active version, or else the latest, came from.
    """

    name: str
    versions: list[int]
    active: int | None
    serving: ServingResponse | None
    source: dict[str, Any] | None
    ignored: list[IgnoredVersion] = Field(description="versions that cannot be served here, and why")


class ModelList(BaseModel):
    """All models of the repository."""

    models: list[ModelResponse]


class VersionEntryResponse(BaseModel):
    """One version: its manifest with parity and metrics, or the error that keeps it from being read.

    `serving` is null unless the version is active.
    """

    name: str
    version: int
    active: bool
    serving: ServingResponse | None
    manifest: dict[str, Any] | None
    prompt_sets: list[str] = Field(description="names that `templates` of /classify may give")
    error: str | None
    ignored: str | None = Field(description="why this server cannot serve it on its machine; else null")


class ModelVersions(BaseModel):
    """All versions of one name, ascending."""

    name: str
    versions: list[VersionEntryResponse]


class Alive(BaseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Requests will be answered. `canary_age_s`: seconds since the encoder last proved that it works.

    `n_without_precision`: collections whose own precision cannot be served; `/collections` says which, why.
    """

    ready: Literal[True] = True
    canary_age_s: float | None
    n_without_precision: int = 0


class ServerVersion(BaseModel):
    """What runs here. `model` is null while it loads."""

    version: str
    model: ModelRef | None
    provider: str | None
    embed_dim: int | None
    default_collection: str
    max_items: int
    max_add_items: int
