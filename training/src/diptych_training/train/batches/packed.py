"""Batches from packed data sets: a pure function of seed and step, which makes resuming exact."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from diptych.bundle.text.tokenizer import TextTokenizer, clean, pad
from diptych_training.config import TrainConfig
from diptych_training.data.captions import CaptionSampler, all_texts
from diptych_training.data.label_key import label_key
from diptych_training.data.packed import PackedSource
from diptych_training.data.sampler import MixtureSampler, SourceWeights, step_rng
from diptych_training.objectives.words import key_of
from diptych_training.train.batches.batch import Batch, PixelTransform, Position, keys_of
from diptych_training.train.batches.image_features import ImageFeatures
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks

ItemWeight = Callable[[Sequence[str]], float]  # from the texts of an item


class PackedBatches:
    """Batches from packed data sets: a pure function of seed and step, which makes resuming exact."""

    def __init__(
        self,
        sources: Sequence[PackedSource],
        tokenizer: TextTokenizer,
        config: TrainConfig,
        ranks: Ranks = SINGLE_RANK,
        *,
        table: str = "data",
        features: ImageFeatures | None = None,
        weight: ItemWeight | None = None,
    ) -> None:
        """With `features`, batches have them instead of pixels, or with smaller ones. `weight` of its texts
        multiplies the weight of an item.

        Raises TrainingConfigError if `table` of the recipe names a kind or source that the data lacks.
        """
        self._config, self._ranks = config, ranks
        items = [item for source in sources for item in source.items]
        weights = [
            SourceWeights(
                source.name,
                source.kind,
                np.array(
                    [
                        item.weight * (weight(list(all_texts([item]))) if weight else 1.0)
                        for item in source.items
                    ],
                    dtype=np.float64,
                ),
            )
            for source in sources
        ]
        self._sampler = MixtureSampler(weights, config.data, table)
        self._captions = CaptionSampler(items, tokenizer, config.data.captions, config.text)
        self._transform = PixelTransform(config, ranks)
        self._images = [source.images for source in sources]
        self._features = None if features is None else features(sources)  # (N, D) or (N, C)
        self._is_pooled = config.drawing_size is not None
        self._starts = np.cumsum([0, *(len(source.items) for source in sources)])
        labels = (label_key(clean(item.label, config.text.clean)) for item in items)
        self._label_of = np.array([key_of(label.encode()) for label in labels], dtype=np.int64)

    def make(self, step: int) -> Batch:
        """Return the batch of step 0, 1, ..., or this rank's share of it.

        The number of ranks does not change which items and captions a step contains; it does change the
        random image augmentation.
        """
        rng = step_rng(self._config.seed, step)
        n = self._config.run.batch_size
        own = self._ranks.share(n)
        chosen = self._sampler.sample(n, rng)  # (B,)
        rows = [self._captions.sample(int(index), rng) for index in chosen][own]
        chosen, seed = chosen[own], int(rng.integers(2**63))  # (b,)
        features = None if self._features is None else self._features[torch.from_numpy(chosen)]
        images = None if self._is_pooled else features
        return Batch(
            images=self._transform(self._gather(chosen), step, seed) if images is None else images,
            input_ids=torch.from_numpy(pad(rows, self._config.text)).long(),
            keys=keys_of(map(self._captions.key, rows), self._label_of[chosen]),
            pooled=features if self._is_pooled else None,
        )

    def position(self, step: int) -> Position:
        """Empty: the number of the step determines the batch."""
        return {}

    def numbers(self) -> dict[str, float]:
        """Empty: packed data sets have no unusable items and no waiting time."""
        return {}

    def close(self) -> None:
        """Nothing to stop."""

    def _gather(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B,) positions -> (B, S, S, 3)."""
        pixels = np.empty((len(chosen), *self._images[0].shape[1:]), dtype=np.uint8)
        source_of = np.searchsorted(self._starts, chosen, side="right") - 1
        for row, (index, source) in enumerate(zip(chosen, source_of, strict=True)):
            pixels[row] = self._images[source][index - self._starts[source]]
        return pixels
