"""The static softmax: classify images into a fixed vocabulary of labels, as the supervised line does (Mahajan
et al. 2018, "Exploring the limits of weakly supervised pretraining"; Kolesnikov et al. 2020, BiT; Dosovitskiy
et al. 2021, ViT).

The vocabulary are the most frequent labels of the training data (of a pair without a label, its first
caption), cleaned. An image has one label here, so its target is that label; an image whose label is outside
the vocabulary has none and adds nothing. Zero-shot, only names in the vocabulary can be scored: templates are
not used.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import PositiveInt
from torch import Tensor, nn

from diptych_training.objectives.bag_of_words import negative_log_likelihood
from diptych_training.objectives.predictive import MeanOfKnown, NameScorer, Predictive, Texts, padded
from diptych_training.objectives.words import Captions, key_of, most_common
from diptych_training.schema import Frozen


class StaticSoftmaxConfig(Frozen):
    """`n_labels`: the size of the vocabulary, the most frequent labels."""

    version: ClassVar[int] = 1
    kind: Literal["static_softmax"] = "static_softmax"
    n_labels: PositiveInt = 10_000

    @property
    def n_entries(self) -> int:
        """The size of the dictionary, if the data has so many entries."""
        return self.n_labels

    def dictionary(self, items: Iterable[Sequence[str]], captions: Captions) -> tuple[str, ...]:
        """The labels: the first text of every item."""
        return tuple(most_common((captions.clean(item[0]) for item in items), self.n_labels))


class StaticSoftmax(Predictive):
    """A linear layer from the image's feature to the vocabulary."""

    def __init__(
        self, config: StaticSoftmaxConfig, n_features: int, captions: Captions, dictionary: Sequence[str]
    ) -> None:
        super().__init__(captions, dictionary)
        self.labels = nn.Linear(n_features, len(dictionary))
        self._index = {label: index for index, label in enumerate(dictionary)}
        self._of_key = {key_of(label.encode()): index for label, index in self._index.items()}

    def targets(self, input_ids: Tensor, labels: Tensor, rng: np.random.Generator) -> Texts:
        """The number of each item's label in the vocabulary."""
        rows = ([self._of_key[key]] if key in self._of_key else [] for key in labels.tolist())
        return Texts(input_ids, padded(rows))

    def loss(self, images: Tensor, texts: Texts) -> Tensor:
        """(b, D) -> the mean over the images."""
        return negative_log_likelihood(self.labels(images), texts.targets)

    def name_scorer(self, names: Sequence[str], template: str) -> NameScorer:
        """From (N, D), log-probabilities of the names that are in the vocabulary, whatever the template."""
        cleaned = (self.captions.clean(name) for name in names)
        entries = [[self._index[name]] if name in self._index else [] for name in cleaned]
        mean = MeanOfKnown(entries)
        return lambda images: mean(self.labels(images).float().log_softmax(dim=1))
