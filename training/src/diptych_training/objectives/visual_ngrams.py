"""Visual N-Grams: predict the phrases of the caption, smoothed (Li et al. 2017, "Learning visual n-grams from
web data", 3: the Jelinek-Mercer loss).

A dictionary of n-grams has one vector each; p_obs is a softmax of their inner products with the image's
feature. The probability of a word after the n - 1 words before it is `smoothing` * p_obs of the n-gram, plus
(1 - `smoothing`) times its probability after n - 2 words, down to the word alone, which is p_obs itself; an
n-gram outside the dictionary has p_obs 0. The loss of an image is the sum over the words of the caption of
the negative log-probability; words outside the dictionary are left out.

The paper writes p_obs as a softmax over the whole dictionary. As these are probabilities of the next word,
it is normalised here over those n-grams of the dictionary that begin with the same n - 1 words. The paper
learns the n-grams of a batch alone in each step, to save time; here all of the dictionary take part.

Zero-shot, a name scores the mean log-probability of those of its words that the dictionary has.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from diptych_training.objectives.predictive import NOTHING, MeanOfKnown, NameScorer, Predictive, Texts
from diptych_training.objectives.words import Captions, most_common
from diptych_training.schema import Frozen

TOO_LONG = -2  # in targets: the caption has no n words up to here


class VisualNgramsConfig(Frozen):
    """`n_ngrams`: the size of the dictionary, the most frequent n-grams of up to `longest` words.

    `smoothing` is the weight of the longer n-gram, lambda in the paper.
    """

    version: ClassVar[int] = 1
    kind: Literal["visual_ngrams"] = "visual_ngrams"
    n_ngrams: PositiveInt = 10_000
    longest: int = Field(default=5, ge=1)
    smoothing: float = Field(default=0.2, gt=0, lt=1)

    @property
    def n_entries(self) -> int:
        """The size of the dictionary, if the data has so many entries."""
        return self.n_ngrams

    def dictionary(self, items: Iterable[Sequence[str]], captions: Captions) -> tuple[str, ...]:
        """The n-grams, from the texts of all items; words are joined by spaces."""
        found = (
            " ".join(words[first:last])
            for item in items
            for words in map(captions.words, item)
            for first, last in spans(len(words), self.longest)
        )
        return tuple(most_common(found, self.n_ngrams))


def spans(n: int, longest: int) -> Iterator[tuple[int, int]]:
    """The first and last ends of all n-grams of up to `longest` of n words."""
    for first in range(n):
        for last in range(first + 1, min(first + longest, n) + 1):
            yield first, last


class VisualNgrams(Predictive):
    """One vector an n-gram."""

    histories: Tensor

    def __init__(
        self, config: VisualNgramsConfig, n_features: int, captions: Captions, dictionary: Sequence[str]
    ) -> None:
        super().__init__(captions, dictionary)
        self.config = config
        self.ngrams = nn.Linear(n_features, len(dictionary), bias=False)
        self._index = {ngram: index for index, ngram in enumerate(dictionary)}
        histories = [ngram.rpartition(" ")[0] for ngram in dictionary]
        numbers = {history: number for number, history in enumerate(dict.fromkeys(histories))}
        self.n_histories = len(numbers)
        own = torch.tensor([numbers[history] for history in histories])
        self.register_buffer("histories", own, persistent=False)  # (K,): which n-grams begin alike

    def targets(self, input_ids: Tensor, labels: Tensor, rng: np.random.Generator) -> Texts:
        """(b, words, longest): the n-grams that end at each known word, the word alone first."""
        return Texts(input_ids, stacked([self.ending(self.captions.words_of(i)) for i in input_ids.tolist()]))

    def loss(self, images: Tensor, texts: Texts) -> Tensor:
        """(b, D) -> the mean over the images."""
        found, targets = self.log_observed(images), texts.targets
        observed = found.gather(1, targets.clamp(min=0).flatten(1)).view(targets.shape)
        words = smoothed(observed, targets, self.config.smoothing)  # (b, words)
        return -(words * (targets[:, :, 0] >= 0)).sum(dim=1).mean()

    def name_scorer(self, names: Sequence[str], template: str) -> NameScorer:
        """From (N, D), the mean log-probability of each name's known words."""
        rows = [self.ending(self.captions.words(template.replace("{}", name))) for name in names]
        flat = [row for of_name in rows for row in of_name] or [[TOO_LONG] * self.config.longest]
        ends = torch.tensor(flat, device=self.histories.device)  # (E, longest)
        firsts = np.cumsum([0, *map(len, rows)])
        mean = MeanOfKnown([range(first, first + len(row)) for first, row in zip(firsts, rows, strict=False)])

        def score(images: Tensor) -> Tensor:
            observed = self.log_observed(images)[:, ends.clamp(min=0)]  # (N, E, longest)
            words = smoothed(observed, ends.expand_as(observed), self.config.smoothing)  # (N, E)
            return mean(words)

        return score

    def log_observed(self, images: Tensor) -> Tensor:
        """(B, D) -> (B, K): log p_obs of every n-gram after its own first words."""
        logits: Tensor = self.ngrams(images).float()
        raised = logits - logits.max(dim=1, keepdim=True).values.detach()
        sums = raised.new_zeros(len(raised), self.n_histories).index_add(1, self.histories, raised.exp())
        sums_of: Tensor = sums.clamp(min=torch.finfo(sums.dtype).tiny).log()[:, self.histories]  # (B, K)
        return raised - sums_of

    def ending(self, words: Sequence[str]) -> list[list[int]]:
        """For each word that the dictionary has: the n-grams of 1, 2, ... words that end there."""
        rows = []
        for last in range(1, len(words) + 1):
            if words[last - 1] in self._index:
                row = [TOO_LONG] * self.config.longest
                for n in range(1, min(self.config.longest, last) + 1):
                    row[n - 1] = self._index.get(" ".join(words[last - n : last]), NOTHING)
                rows.append(row)
        return rows


def stacked(captions: Sequence[list[list[int]]]) -> Tensor:
    """Rows of n-grams of b captions -> (b, words, longest), filled with `NOTHING`."""
    longest = max((len(row) for rows in captions for row in rows), default=1)
    targets = torch.full((len(captions), max(1, *map(len, captions)), longest), NOTHING)
    for target, rows in zip(targets, captions, strict=True):
        if rows:
            target[: len(rows)] = torch.tensor(rows)
    return targets


def smoothed(log_observed: Tensor, ngrams: Tensor, smoothing: float) -> Tensor:
    """(..., words, longest) log p_obs by the n-grams' length, and their numbers -> (..., words) log p."""
    observed = log_observed.exp() * (ngrams >= 0)
    p = observed[..., 0]
    for n in range(1, observed.shape[-1]):
        longer = smoothing * observed[..., n] + (1 - smoothing) * p
        p = torch.where(ngrams[..., n] == TOO_LONG, p, longer)
    return p.clamp(min=torch.finfo(p.dtype).tiny).log()
