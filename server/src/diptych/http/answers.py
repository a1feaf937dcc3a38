"""What the server answers, as types. Knows nothing of how the values came to be."""

from typing import Any

from pydantic import BaseModel

from diptych.http.endpoints.references import Links, ModelRef


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
