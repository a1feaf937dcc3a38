"""Batches put together from those of several data sets; knows nothing of where each comes from."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych_training.train.batches.batch import Batch, Batches, Position


class MixedBatches:
    """The run's own batches, each with those of the same step of others behind it.

    The others are functions of their step, so that going on needs the position of the own ones alone.
    """

    def __init__(self, own: Batches, others: Sequence[Batches], pad_id: int) -> None:
        self._own, self._others, self._pad_id = own, tuple(others), pad_id

    def make(self, step: int) -> Batch:
        """The parts of a step, one after the other; texts are padded to the longest of all."""
        parts = [batches.make(step) for batches in (self._own, *self._others)]
        return Batch(
            pixels=torch.cat([part.pixels for part in parts]),
            input_ids=self._joined([part.input_ids for part in parts]),
            keys=torch.cat([part.keys for part in parts]),
        )

    def position(self, step: int) -> Position:
        """That of the own ones."""
        return self._own.position(step)

    def numbers(self) -> dict[str, float]:
        """What the own ones say."""
        return self._own.numbers()

    def close(self) -> None:
        """End what runs beside this process."""
        for batches in (self._own, *self._others):
            batches.close()

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        """(b, L) each, of several L -> (sum of b, longest L)."""
        longest = max(part.shape[1] for part in parts)
        return torch.cat([F.pad(part, (0, longest - part.shape[1]), value=self._pad_id) for part in parts])
