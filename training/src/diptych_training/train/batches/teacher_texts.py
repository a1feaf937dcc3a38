"""Batches with texts for the text tower alone, which a text teacher has embedded."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from diptych.bundle.text.tokenizer import TextTokenizer, pad
from diptych_training.config import TrainConfig
from diptych_training.train.batches.batch import Batch, Batches, Position, TeacherBatch
from diptych_training.train.distributed.ranks import Ranks
from diptych_training.train.text_teacher.teacher_texts import TeacherTexts

TAUGHT_STREAM = 6  # part of the seed, distinct from those of other draws


class _Order:
    """The texts of each step: every epoch has new batches of texts of similar length, in a new order.

    Texts that fill no batch are left out of an epoch, others in each.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = np.array(lengths), batch_size, seed
        self._n_batches = len(lengths) // batch_size
        self._epoch = lru_cache(1)(self._drawn)

    def rows(self, step: int) -> NDArray[np.int64]:
        """(B,) numbers of the texts of a step."""
        epoch, number = divmod(step, self._n_batches)
        rows: NDArray[np.int64] = self._epoch(epoch)[number]
        return rows

    def _drawn(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self._seed, TAUGHT_STREAM, epoch))
        drawn = rng.permutation(len(self._lengths))[: self._n_batches * self._batch_size]
        by_length = drawn[self._lengths[drawn].argsort(kind="stable")]
        return rng.permutation(by_length.reshape(self._n_batches, self._batch_size))


class TeacherBatches:
    """Adds texts of similar length to each batch, as a function of seed and step."""

    def __init__(
        self,
        batches: Batches,
        teacher_texts: TeacherTexts,
        tokenizer: TextTokenizer,
        config: TrainConfig,
        ranks: Ranks,
    ) -> None:
        assert config.text_teacher is not None
        self._batches, self._targets, self._ranks = batches, teacher_texts.targets, ranks
        self._config, self._spec = config.text_teacher, config.text
        self._ids = cache(
            lambda row: tokenizer.ids(teacher_texts.texts[row])[0]
        )  # each text is tokenised once
        self._order = _Order(
            [len(text) for text in teacher_texts.texts], self._config.batch_size, config.seed
        )

    def make(self, step: int) -> Batch:
        """The batch of a step, with its texts or this rank's share of them."""
        rows = self._order.rows(step)[self._ranks.share(self._config.batch_size)]
        input_ids = torch.from_numpy(pad([self._ids(row) for row in rows], self._spec)).long()
        teacher_texts = TeacherBatch(
            input_ids, self._targets[torch.from_numpy(rows)].float(), self._config.weight
        )
        return replace(self._batches.make(step), teacher_texts=teacher_texts)

    def position(self, step: int) -> Position:
        """The position of the batches."""
        return self._batches.position(step)

    def numbers(self) -> dict[str, float]:
        """The metrics of the batches."""
        return self._batches.numbers()

    def close(self) -> None:
        """Stop worker processes."""
        self._batches.close()
