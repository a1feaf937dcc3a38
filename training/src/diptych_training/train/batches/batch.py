"""A training batch, the protocol of what makes batches, and the image changes that all of them share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from diptych.bundle.encoder import Pixels
from diptych_training.config import TrainConfig
from diptych_training.data.augment import Augment
from diptych_training.objectives.words import key_of
from diptych_training.train.distributed.ranks import Ranks

Position = dict[str, Any]  # JSON; empty if the number of the step determines the batch


@dataclass(frozen=True)
class TeacherBatch:
    """Texts for the text tower alone: the whole batch, or one rank's share of it."""

    input_ids: Tensor  # (t, L) int64
    targets: Tensor  # (t, dims) float32 of unit norm, for the first numbers of the features
    weight: float  # of their loss
    shares: Tensor | None = None  # (t,) float32, of the first half of the features, for a routed text tower


@dataclass(frozen=True)
class Batch:
    """The items of one step: the whole batch, or one rank's share of it."""

    # (b, 3, S, S) float32 pixels, normalised, channels_last; S is smaller in the first steps. With
    # `lock.cache`, (b, D) float32 features instead, or pixels of the drawings' size with `pooled`.
    images: Tensor
    input_ids: Tensor  # (b, L) int64, padded to the longest caption of the share
    # (b, 2) int64, hashes of caption and label: equal values in a column mean texts of one label, which
    # differ in articles, case or punctuation only.
    keys: Tensor
    n_rehearsed: int = 0  # the last items, which are of rehearsed data sets
    targets: Tensor | None = None  # (b, ...) int64, what an objective without a text tower predicts
    teacher_texts: TeacherBatch | None = None  # texts of a text teacher
    pooled: Tensor | None = None  # (b, C) float32, of a locked tower of photographs

    @property
    def positives(self) -> Tensor:
        """(b, b) bool, symmetric: which pairs share caption or label."""
        return equal_keys(self.keys)


class Batches(Protocol):
    """Source of the batch of each step. Steps are requested in order; a step may be requested more than once.

    One step past the end of the run is requested to measure the cost of a batch of full size.
    """

    def make(self, step: int) -> Batch:
        """Return the batch of step 0, 1, ..., or this rank's share of it."""
        ...

    def position(self, step: int) -> Position:
        """Return the data position that a checkpoint before this step stores. All ranks must call it."""
        ...

    def numbers(self) -> dict[str, float]:
        """Return metrics of the data for the log. All ranks must call it."""
        ...

    def close(self) -> None:
        """Stop worker processes."""
        ...


def equal_keys(keys: Tensor) -> Tensor:
    """(B, 2) -> (B, B) bool: which pairs have an equal key in the same column."""
    return (keys[:, None] == keys[None, :]).any(dim=-1)


def keys_of(captions: Iterable[bytes], labels: NDArray[np.int64]) -> Tensor:
    """B keys of captions (`caption_key`) and (B,) hashes of labels -> (B, 2), the keys of a batch."""
    hashes = np.array([key_of(caption) for caption in captions], dtype=np.int64)
    return torch.from_numpy(np.stack([hashes, labels], axis=1))


class PixelTransform:
    """Converts stored pixels to normalised model input with random augmentation."""

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self._run, self._size, self._ranks = config.run, config.preprocess.size, ranks
        self._averaged = self._size // (config.drawing_size or self._size)
        self._augment = Augment(config.augment)
        self._mean = torch.tensor(config.preprocess.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(config.preprocess.std).view(1, 3, 1, 1)

    def __call__(self, pixels: Pixels, step: int, seed: int) -> Tensor:
        """(b, S, S, 3) uint8 of any size that `train_sources` accepts -> (b, 3, s, s) float32, normalised;
        the same for the same seed and rank.
        """
        generator = torch.Generator().manual_seed((seed + self._ranks.rank) % 2**63)
        images = self._augment(self._resize(_to_float(pixels, self._size), step), generator)
        return images.sub_(self._mean).div_(self._std)

    def _resize(self, images: Tensor, step: int) -> Tensor:
        """Shrink by area averaging: the images of the first steps (progressive resizing), or all to the
        drawings' size.
        """
        run = self._run
        if self._averaged > 1:  # as the drawings' tower does it
            return F.avg_pool2d(images, self._averaged)
        if run.start_size is None or step >= run.start_fraction * run.steps:
            return images
        return F.avg_pool2d(images, images.shape[-1] // run.start_size)


def _to_float(pixels: Pixels, size: int) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, size, size) float32 in [0, 1], channels_last like the stored memory.

    Larger images are shrunk as Pillow does it, to within one of 255. Of a smaller one, each pixel becomes
    k x k equal ones: their mean is the pixel again, so that a tower which averages its input, or a part of
    one, gets exactly the stored image.
    """
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    if images.shape[-1] < size:
        images = F.interpolate(images, size=(size, size), mode="nearest")
    elif images.shape[-1] > size:
        images = F.interpolate(images, size=(size, size), mode="bicubic", antialias=True)
    return images.float().div_(255)
