"""What the server answers, as types. Knows nothing of how the values came to be."""

from typing import Any, Literal

from pydantic import BaseModel

from diptych.core.types import ModelInfo


class ModelRef(BaseModel):
    """The version that made an answer."""

    name: str
    version: int
    precision: str
    decode: Literal["exact", "fast"]

    @classmethod
    def of(cls, model: ModelInfo) -> "ModelRef":
        """The part of a model that callers need to tell vectors apart."""
        return cls(name=model.name, version=model.version, precision=model.precision, decode=model.decode)


class EmbeddedItem(BaseModel):
    """`embedding`: floats, or base64 of little-endian float32. `truncated`: the text was cut."""

    index: int
    embedding: list[float] | str
    truncated: bool = False


class EmbedResponse(BaseModel):
    """One row per item, in the order of the request."""

    model: ModelRef
    data: list[EmbeddedItem]


class PredictionResponse(BaseModel):
    """`score` is a probability, `cosine` what it was made from. `truncated`: the label was cut."""

    label: str
    score: float
    cosine: float
    truncated: bool = False


class ClassifiedImage(BaseModel):
    """Predictions of one image, best first."""

    index: int
    predictions: list[PredictionResponse]


class ClassifyResponse(BaseModel):
    """One entry per image, in the order of the request."""

    model: ModelRef
    data: list[ClassifiedImage]


class Links(BaseModel):
    """Paths on this server."""

    self: str
    thumbnail: str
    original: str

    @classmethod
    def of(cls, collection: str, id: str) -> "Links":
        """Names and ids need no escaping: their alphabets are those of a path."""
        path = f"/collections/{collection}/images/{id}"
        return cls(self=path, thumbnail=f"{path}/thumbnail", original=f"{path}/original")


class HitResponse(BaseModel):
    """`relevance` is null until the model's cosines are calibrated."""

    id: str
    cosine: float
    relevance: float | None
    metadata: dict[str, Any]
    links: Links


class SearchResponse(BaseModel):
    """Hits, best first. `truncated`: a text of the query was cut to the context."""

    model: ModelRef
    collection: str
    hits: list[HitResponse]
    truncated: bool
