"""What the models and operators' calls answer, as types. Knows nothing of how the values came to be."""

from typing import Any, Literal

from pydantic import BaseModel

from diptych.http.answers import ModelRef


class ModelAnswer(BaseModel):
    """One name of the repository. `active`: the version that answers now. `source`: of that or the latest."""

    name: str
    versions: list[int]
    active: int | None
    source: dict[str, Any] | None


class ModelList(BaseModel):
    """All models of the repository."""

    models: list[ModelAnswer]


class VersionEntryAnswer(BaseModel):
    """One version: its manifest with parity and metrics, or the error that keeps it from being read."""

    name: str
    version: int
    active: bool
    manifest: dict[str, Any] | None
    error: str | None


class ModelVersions(BaseModel):
    """All versions of one name, ascending."""

    name: str
    versions: list[VersionEntryAnswer]


class Alive(BaseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Requests will be answered. `canary_age_s`: seconds since the encoder last proved that it works."""

    ready: Literal[True] = True
    canary_age_s: float | None


class ServerVersion(BaseModel):
    """What runs here. `model` is null while it loads."""

    version: str
    model: ModelRef | None
    provider: str | None
    embed_dim: int | None
    decode: Literal["exact"] = "exact"
    default_collection: str
    max_items: int
    max_add_items: int
