"""A training batch from seed and step alone; knows nothing of models or of how far training is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from diptych.bundle.text import TextTokenizer, clean, pad
from diptych_training.config import TrainConfig
from diptych_training.data.augment import Augment
from diptych_training.data.captions import CaptionSampler
from diptych_training.data.packed import PackedSource
from diptych_training.data.sampler import MixtureSampler, SourceWeights, step_rng
from diptych_training.loss import equal_rows


@dataclass(frozen=True)
class Batch:
    """What one step learns from."""

    pixels: Tensor  # (B, 3, S, S) float32, normalised, channels_last; S is smaller in the first steps
    input_ids: Tensor  # (B, L) int64, padded to the longest caption of the batch
    positives: Tensor  # (B, B) bool, symmetric: which pairs share caption or label


class BatchMaker:
    """Makes the batch of any step, the same one every time: this is what makes resuming exact."""

    def __init__(
        self, sources: Sequence[PackedSource], tokenizer: TextTokenizer, config: TrainConfig
    ) -> None:
        self._config = config
        items = [item for source in sources for item in source.items]
        weights = [
            SourceWeights(
                source.name, source.kind, np.array([item.weight for item in source.items], dtype=np.float64)
            )
            for source in sources
        ]
        self._sampler = MixtureSampler(weights, config.data)
        self._captions = CaptionSampler(items, tokenizer, config.data.captions, config.text.context_length)
        self._augment = Augment(config.augment)
        self._images = [source.images for source in sources]
        self._starts = np.cumsum([0, *(len(source.items) for source in sources)])
        labels: dict[str, int] = {}
        cleaned = (clean(item.label, config.text.clean) for item in items)  # equal to the model, equal here
        self._label_of = np.array([labels.setdefault(label, len(labels)) for label in cleaned])
        self._mean = torch.tensor(config.preprocess.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(config.preprocess.std).view(1, 3, 1, 1)

    def make(self, step: int) -> Batch:
        """The batch of step 0, 1, ..."""
        rng = step_rng(self._config.seed, step)
        chosen = self._sampler.sample(self._config.run.batch_size, rng)  # (B,)
        rows = [self._captions.sample(int(index), rng) for index in chosen]
        input_ids = torch.from_numpy(pad(rows, self._config.text)).long()
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        pixels = self._augment(self._resize(_to_float(self._gather(chosen)), step), generator)
        labels = torch.from_numpy(self._label_of[chosen])
        return Batch(
            pixels=pixels.sub_(self._mean).div_(self._std),
            input_ids=input_ids,
            positives=equal_rows(input_ids) | (labels[:, None] == labels[None, :]),
        )

    def _resize(self, images: Tensor, step: int) -> Tensor:
        """The first steps see small images (progressive resizing); area averages, as the art is drawn."""
        run = self._config.run
        if run.start_size is None or step >= run.start_fraction * run.steps:
            return images
        return F.avg_pool2d(images, images.shape[-1] // run.start_size)

    def _gather(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B,) positions -> (B, S, S, 3)."""
        size = self._config.preprocess.size
        pixels = np.empty((len(chosen), size, size, 3), dtype=np.uint8)
        source_of = np.searchsorted(self._starts, chosen, side="right") - 1
        for row, (index, source) in enumerate(zip(chosen, source_of, strict=True)):
            pixels[row] = self._images[source][index - self._starts[source]]
        return pixels


def _to_float(pixels: NDArray[np.uint8]) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in [0, 1], channels_last as it lies in memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
