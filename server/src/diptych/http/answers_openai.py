"""What `/v1` answers, in OpenAI's shape. Knows nothing of how the values came to be."""

from typing import Literal

from pydantic import BaseModel, Field


class OpenAIEmbedding(BaseModel):
    """One row in OpenAI's shape."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class OpenAIUsage(BaseModel):
    """Token counts, start and end tokens included."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(BaseModel):
    """`POST /v1/embeddings`."""

    object: Literal["list"] = "list"
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage


class OpenAIModel(BaseModel):
    """One served model in OpenAI's shape."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time")
    owned_by: Literal["diptych"] = "diptych"


class OpenAIModels(BaseModel):
    """`GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]
