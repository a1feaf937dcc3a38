"""The references that many responses carry: the model that made them, and the paths of an image."""

from typing import Literal

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
