"""References in many responses: the model that computed them, and the paths of an image."""

from typing import Literal

from pydantic import BaseModel

from diptych.core.types import ModelInfo

EXAMPLE_MODEL = {"name": "everyday", "version": 1, "precision": "fp32", "decode": "exact"}
EXAMPLE_LINKS = {
    "self": "/collections/gallery/images/cat",
    "thumbnail": "/collections/gallery/images/cat/thumbnail",
    "original": "/collections/gallery/images/cat/original",
}


class ModelRef(BaseModel):
    """The model version that computed a response."""

    name: str
    version: int
    precision: str
    decode: Literal["exact", "fast"]

    @classmethod
    def of(cls, model: ModelInfo) -> "ModelRef":
        """The part of a model that distinguishes its vectors from those of others."""
        return cls(name=model.name, version=model.version, precision=model.precision, decode=model.decode)


class Links(BaseModel):
    """Paths of an image on this server."""

    self: str
    thumbnail: str
    original: str

    @classmethod
    def of(cls, collection: str, id: str) -> "Links":
        """Build the paths. Names and ids need no escaping: they consist of characters that paths allow."""
        path = f"/collections/{collection}/images/{id}"
        return cls(self=path, thumbnail=f"{path}/thumbnail", original=f"{path}/original")
