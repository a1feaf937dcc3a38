"""Bag of words: predict the words of the caption, in no order (Joulin et al. 2016, "Learning visual features
from large weakly supervised data", 3.2: multiclass logistic regression over a dictionary of words).

The loss of an image is the sum over its words of the negative log-probability of the word in a softmax over
the dictionary. Zero-shot, a name scores the mean log-probability of those of its words that the dictionary
has.

With `balanced`, words are sampled as in the paper: each word of the dictionary is as likely, then an item
that has it, and that word alone is the item's target. Kinds of sources keep their shares.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import ClassVar, Literal

import numpy as np
from pydantic import PositiveInt
from torch import Tensor, nn

from diptych_training.objectives.predictive import MeanOfKnown, NameScorer, Predictive, Texts, padded
from diptych_training.objectives.words import Captions, most_common
from diptych_training.schema import Frozen


class BagOfWordsConfig(Frozen):
    """`n_words`: the size of the dictionary, the most frequent words of the captions. `balanced`: rare
    words are learned as often as frequent ones.
    """

    version: ClassVar[int] = 1
    kind: Literal["bag_of_words"] = "bag_of_words"
    n_words: PositiveInt = 5000
    balanced: bool = False

    @property
    def n_entries(self) -> int:
        """The size of the dictionary, if the data has so many entries."""
        return self.n_words

    def dictionary(self, items: Iterable[Sequence[str]], captions: Captions) -> dict[str, int]:
        """The words and how often each occurs, from the texts of all items."""
        words = (captions.words(text) for item in items for text in item)
        return most_common(chain.from_iterable(words), self.n_words)


class BagOfWords(Predictive):
    """A linear layer from the image's feature to the dictionary."""

    def __init__(
        self, config: BagOfWordsConfig, n_features: int, captions: Captions, dictionary: Mapping[str, int]
    ) -> None:
        super().__init__(captions, tuple(dictionary))
        self.config = config
        self._rarity = [1 / n for n in dictionary.values()]
        self.words = nn.Linear(n_features, len(dictionary))
        self._index = {word: index for index, word in enumerate(dictionary)}

    def targets(self, input_ids: Tensor, labels: Tensor, rng: np.random.Generator) -> Texts:
        """The different words of each caption, by their numbers in the dictionary; with `balanced`, one of
        them.
        """
        rows = (self._known(self.captions.words_of(ids)) for ids in input_ids.tolist())
        return Texts(
            input_ids, padded(self._one_of(row, rng) if self.config.balanced else row for row in rows)
        )

    def weight(self, texts: Sequence[str]) -> float:
        """How often an item is drawn, relative to others: with `balanced`, the sum of its words' rarities."""
        if not self.config.balanced:
            return 1.0
        words = chain.from_iterable(self.captions.words(text) for text in texts)
        return sum(self._rarity[word] for word in self._known(words))

    def _one_of(self, words: Sequence[int], rng: np.random.Generator) -> Sequence[int]:
        rarities = np.array([self._rarity[word] for word in words])
        return [int(rng.choice(words, p=rarities / rarities.sum()))] if len(words) else []

    def loss(self, images: Tensor, texts: Texts) -> Tensor:
        """(b, D) -> the mean over the images."""
        return negative_log_likelihood(self.words(images), texts.targets)

    def name_scorer(self, names: Sequence[str], template: str) -> NameScorer:
        """From (N, D), the mean log-probability of each name's known words."""
        entries = [self._known(self.captions.words(template.replace("{}", name))) for name in names]
        mean = MeanOfKnown(entries)
        return lambda images: mean(self.words(images).float().log_softmax(dim=1))

    def _known(self, words: Iterable[str]) -> list[int]:
        """The numbers of the different words that the dictionary has, in order."""
        return sorted({self._index[word] for word in words if word in self._index})


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """(b, K) logits and (b, T) entries, -1 for none -> the mean over b of the sums over T."""
    log_probabilities = logits.float().log_softmax(dim=1)
    chosen = log_probabilities.gather(1, targets.clamp(min=0))
    return -(chosen * (targets >= 0)).sum(dim=1).mean()
