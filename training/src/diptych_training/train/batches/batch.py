"""A training batch, the protocol of what makes batches, and the image changes that all of them share."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from diptych.bundle.encoder import Pixels
from diptych.bundle.text.tokenizer import Ids
from diptych_training.config import TrainConfig
from diptych_training.data.augment import Augment
from diptych_training.train.distributed.ranks import Ranks

Position = dict[str, Any]  # JSON; empty where a batch needs no more than the number of its step


@dataclass(frozen=True)
class Batch:
    """What one step learns from: the whole batch, or one rank's share of it."""

    pixels: Tensor  # (b, 3, S, S) float32, normalised, channels_last; S is smaller in the first steps
    input_ids: Tensor  # (b, L) int64, padded to the longest caption of the share
    keys: (
        Tensor  # (b, 2) int64: items of one batch with an equal first share their caption, second their label
    )

    @property
    def positives(self) -> Tensor:
        """(b, b) bool, symmetric: which pairs share caption or label."""
        return equal_keys(self.keys)


class Batches(Protocol):
    """Gives the batch of each step: asked for in order, one of them perhaps several times.

    One past the end of the run is asked for to see what a batch of full size costs.
    """

    def make(self, step: int) -> Batch:
        """The batch of step 0, 1, ..., or this rank's share of it."""
        ...

    def position(self, step: int) -> Position:
        """What a checkpoint before this step keeps of the data. All ranks must ask for it."""
        ...

    def numbers(self) -> dict[str, float]:
        """What the log should say of the data. All ranks must ask for it."""
        ...

    def close(self) -> None:
        """End what runs beside this process."""
        ...


def equal_keys(keys: Tensor) -> Tensor:
    """(B, 2) -> (B, B) bool: which pairs have a key in common, in the same column."""
    return (keys[:, None] == keys[None, :]).any(dim=-1)


def key_of(text: bytes) -> int:
    """64 bits for a caption or label, the same in every process: equal ones are equal, others differ."""
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little", signed=True)


def keys_of(rows: Sequence[Ids], labels: NDArray[np.int64]) -> Tensor:
    """B captions as ids and (B,) numbers of labels -> (B, 2), the keys of a batch."""
    captions = np.array([key_of(row.tobytes()) for row in rows], dtype=np.int64)
    return torch.from_numpy(np.stack([captions, labels], axis=1))


class PixelTransform:
    """From pixels as they are stored to pixels as a model takes them, changed at random."""

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self._run, self._ranks = config.run, ranks
        self._augment = Augment(config.augment)
        self._mean = torch.tensor(config.preprocess.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(config.preprocess.std).view(1, 3, 1, 1)

    def __call__(self, pixels: Pixels, step: int, seed: int) -> Tensor:
        """(b, S, S, 3) uint8 -> (b, 3, s, s) float32, normalised; the same for the same seed and rank."""
        generator = torch.Generator().manual_seed((seed + self._ranks.rank) % 2**63)
        images = self._augment(self._resize(_to_float(pixels), step), generator)
        return images.sub_(self._mean).div_(self._std)

    def _resize(self, images: Tensor, step: int) -> Tensor:
        """The first steps see small images (progressive resizing); area averages, as the art is drawn."""
        run = self._run
        if run.start_size is None or step >= run.start_fraction * run.steps:
            return images
        return F.avg_pool2d(images, images.shape[-1] // run.start_size)


def _to_float(pixels: Pixels) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in [0, 1], channels_last as it lies in memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
