"""The space that a text tower is taught: a sentence encoder's, centred and reduced."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diptych_training.errors import TrainingConfigError
from diptych_training.train.text_teacher.sentence_encoder import Embeddings

Rows = NDArray[np.float32]
MEAN, PROJECTION = "mean", "projection"
BLOCK = 1 << 16  # rows in float32 at a time


@dataclass(frozen=True)
class TextSpace:
    """Moves embeddings of W numbers to a `mean` (W,) and keeps their principal axes, `projection` (W, dims).

    Sentence encoders leave all texts in a narrow cone; around their mean, different texts are far apart.
    """

    mean: Rows
    projection: Rows

    @classmethod
    def fit(cls, embeddings: Embeddings, dims: int, centre: Embeddings | None = None) -> "TextSpace":
        """The space of the first `dims` principal axes of (N, W) embeddings, around the mean of those of
        `centre`, or their own.

        Raises TrainingConfigError if embeddings have fewer numbers.
        """
        width = embeddings.shape[1]
        if dims > width:
            raise TrainingConfigError(
                f"text_teacher.dims is {dims}: the teacher's embeddings have {width} numbers, name at most "
                "that many"
            )
        around = embeddings if centre is None else centre
        mean: Rows = around.mean(axis=0, dtype=np.float64).astype(np.float32)
        moments = np.zeros((width, width))
        for block in _blocks(embeddings):
            centred = _unit(block - mean)
            moments += centred.T @ centred
        axes = np.linalg.svd(moments)[0][:, :dims]
        axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dims)])  # the same on every machine
        return cls(mean, axes.astype(np.float32))

    def of(self, embeddings: Embeddings) -> Rows:
        """(N, W) embeddings -> (N, dims) float32, rows of unit norm."""
        return np.concatenate([_unit((block - self.mean) @ self.projection) for block in _blocks(embeddings)])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The space as tensors by name, for a file."""
        return {MEAN: torch.from_numpy(self.mean), PROJECTION: torch.from_numpy(self.projection)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "TextSpace":
        """The space that `tensors` describes."""
        return cls(tensors[MEAN].numpy(), tensors[PROJECTION].numpy())


def _blocks(embeddings: Embeddings) -> Iterator[Rows]:
    for start in range(0, max(len(embeddings), 1), BLOCK):
        yield embeddings[start : start + BLOCK].astype(np.float32)


def _unit(rows: NDArray[np.floating[Any]]) -> Rows:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Rows = rows / np.maximum(norms, np.finfo(np.float32).tiny)
    return unit
