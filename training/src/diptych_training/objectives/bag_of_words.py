"""Bag of words: predict the words of the caption, in no order (Joulin et al. 2016, "Learning visual features
from large weakly supervised data", 3.2: multiclass logistic regression over a dictionary of words).

The loss of an image is the sum over its words of the negative log-probability of the word in a softmax over
the dictionary. Zero-shot, a name scores the mean log-probability of those of its words that the dictionary
has. The paper balances the words by sampling; here a batch is sampled as the recipe's `data` says.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Literal

import numpy as np
from pydantic import PositiveInt
from torch import Tensor, nn

from diptych_training.objectives.predictive import MeanOfKnown, NameScorer, Predictive, Texts, padded
from diptych_training.objectives.words import Captions, most_common
from diptych_training.schema import Frozen


class BagOfWordsConfig(Frozen):
    """`n_words`: the size of the dictionary, the most frequent words of the captions."""

    kind: Literal["bag_of_words"] = "bag_of_words"
    n_words: PositiveInt = 5000

    @property
    def n_entries(self) -> int:
        """The size of the dictionary, if the data has so many entries."""
        return self.n_words

    def dictionary(self, items: Iterable[Sequence[str]], captions: Captions) -> tuple[str, ...]:
        """The words, from the texts of all items."""
        words = (captions.words(text) for item in items for text in item)
        return most_common(chain.from_iterable(words), self.n_words)


class BagOfWords(Predictive):
    """A linear layer from the image's feature to the dictionary."""

    def __init__(
        self, config: BagOfWordsConfig, n_features: int, captions: Captions, dictionary: Sequence[str]
    ) -> None:
        super().__init__(captions, dictionary)
        self.words = nn.Linear(n_features, len(dictionary))
        self._index = {word: index for index, word in enumerate(dictionary)}

    def targets(self, input_ids: Tensor, labels: Tensor, rng: np.random.Generator) -> Texts:
        """The different words of each caption, by their numbers in the dictionary."""
        rows = (sorted(set(self._known(self.captions.words_of(ids)))) for ids in input_ids.tolist())
        return Texts(input_ids, padded(rows))

    def loss(self, images: Tensor, texts: Texts) -> Tensor:
        """(b, D) -> the mean over the images."""
        return negative_log_likelihood(self.words(images), texts.targets)

    def name_scorer(self, names: Sequence[str], template: str) -> NameScorer:
        """From (N, D), the mean log-probability of each name's known words."""
        entries = [self._known(self.captions.words(template.replace("{}", name))) for name in names]
        mean = MeanOfKnown(entries)
        return lambda images: mean(self.words(images).float().log_softmax(dim=1))

    def _known(self, words: Iterable[str]) -> list[int]:
        return [self._index[word] for word in words if word in self._index]


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """(b, K) logits and (b, T) entries, -1 for none -> the mean over b of the sums over T."""
    log_probabilities = logits.float().log_softmax(dim=1)
    chosen = log_probabilities.gather(1, targets.clamp(min=0))
    return -(chosen * (targets >= 0)).sum(dim=1).mean()
