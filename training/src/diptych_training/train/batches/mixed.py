"""Batches concatenated from those of several data sets (rehearsal)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych_training.train.batches.batch import Batch, Batches, Position


class MixedBatches:
    """Each step's batch of the run's own data, followed by the batches of the rehearsed data sets.

    Rehearsed batches are functions of the step, so only the position of the run's own data is stored.
    """

    def __init__(self, own: Batches, others: Sequence[Batches], pad_id: int) -> None:
        self._own, self._others, self._pad_id = own, tuple(others), pad_id

    def make(self, step: int) -> Batch:
        """Concatenate the batches of a step; texts are padded to the longest of all."""
        parts = [batches.make(step) for batches in (self._own, *self._others)]
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Batch(
            images=torch.cat([part.images for part in parts]),
            input_ids=self._concatenate_padded([part.input_ids for part in parts]),
            keys=torch.cat([part.keys for part in parts]),
            n_rehearsed=sum(len(part.keys) for part in parts[1:]),
            pooled=torch.cat(pooled) if pooled else None,
        )

    def position(self, step: int) -> Position:
        """The position of the run's own data."""
        return self._own.position(step)

    def numbers(self) -> dict[str, float]:
        """The metrics of the run's own data."""
        return self._own.numbers()

    def close(self) -> None:
        """Stop worker processes."""
        for batches in (self._own, *self._others):
            batches.close()

    def _concatenate_padded(self, parts: Sequence[Tensor]) -> Tensor:
        """(b, L) each, of several L -> (sum of b, longest L)."""
        longest = max(part.shape[1] for part in parts)
        return torch.cat([F.pad(part, (0, longest - part.shape[1]), value=self._pad_id) for part in parts])
