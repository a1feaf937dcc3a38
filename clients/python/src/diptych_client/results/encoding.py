"""The results of `embed` and `classify`."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from diptych_client.results.common import ModelRef

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Embedding: TypeAlias = array[float]
else:
    Embedding = array
"""`array('f')` of embed_dim float32 numbers, unit norm; `numpy.asarray(embedding)` shares its memory."""


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
class InputWarning:
    """What is probably a mistake in a call that was answered as it stands: the item, such as ``labels[0]``,
    and why.
    """

    item: str
    detail: str


@dataclass(frozen=True)
class Classification:
    """The predictions of a call. `data[i]` belongs to the i-th image."""

    model: ModelRef
    data: tuple[ClassifiedImage, ...]
    warnings: tuple[InputWarning, ...] = ()
