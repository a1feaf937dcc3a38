"""Batches with texts for the text tower alone, which a text teacher has embedded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from diptych.bundle.text.tokenizer import TextTokenizer, pad
from diptych_training.config import TextTeacherConfig, TrainConfig
from diptych_training.config.start import TemplateKind
from diptych_training.data.captions import Ids
from diptych_training.models.config import is_routed
from diptych_training.train.batches.batch import Batch, Batches, Position, TeacherBatch
from diptych_training.train.distributed.ranks import Ranks
from diptych_training.train.text_teacher.teacher_texts import TeacherTexts

TAUGHT_STREAM, TEMPLATE_STREAM = 6, 7  # parts of the seed, distinct from those of other draws
# The share that a text asks of the first half of its features, by the kind of its template. Not 0 for
# drawings: the half of photographs helps to find shaded ones.
SHARES: dict[TemplateKind, float] = {"photograph": 0.9, "either": 0.5, "drawing": 0.3}


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


@dataclass(frozen=True)
class _Frame:
    """Ids before and after a text, and the share that the whole asks of the first half."""

    before: Ids
    after: Ids
    share: float

    def around(self, ids: Ids, context_length: int) -> Ids:
        """(L,) ids with start and end -> the same with the frame between them, cut as the text tower needs
        it.
        """
        body = np.concatenate([self.before, ids[1:-1], self.after])[: context_length - 2]
        return np.concatenate([ids[:1], body, ids[-1:]])


def _frame(template: str, kind: TemplateKind, tokenizer: TextTokenizer) -> _Frame:
    before, after = (tokenizer.ids(part)[0][1:-1] for part in template.split("{}"))
    return _Frame(before, after, SHARES[kind])


class _Frames:
    """Draws the frames of a step's texts, as a function of seed and step."""

    def __init__(self, tokenizer: TextTokenizer, config: TextTeacherConfig, seed: int) -> None:
        self._n, self._probability, self._seed = config.batch_size, config.template_probability, seed
        self._plain = _frame("{}", "either", tokenizer)
        self._kinds = [
            [_frame(template, kind, tokenizer) for template in templates]
            for kind, templates in config.templates.items()
        ]

    def draw(self, step: int) -> list[_Frame]:
        """One for each text of the step."""
        rng = np.random.default_rng((self._seed, TEMPLATE_STREAM, step))
        return [
            self._template(rng) if rng.random() < self._probability else self._plain for _ in range(self._n)
        ]

    def _template(self, rng: np.random.Generator) -> _Frame:
        kind = self._kinds[rng.integers(len(self._kinds))]
        return kind[rng.integers(len(kind))]


class TeacherBatches:
    """Adds texts of similar length to each batch, some of them inside templates, as a function of seed and
    step.
    """

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
        self._frames = _Frames(tokenizer, self._config, config.seed)
        self._is_routed = is_routed(config.model)

    def make(self, step: int) -> Batch:
        """The batch of a step, with its texts or this rank's share of them."""
        own = self._ranks.share(self._config.batch_size)
        rows, frames = self._order.rows(step)[own], self._frames.draw(step)[own]
        framed = [
            frame.around(self._ids(row), self._spec.context_length)
            for frame, row in zip(frames, rows, strict=True)
        ]
        teacher_texts = TeacherBatch(
            torch.from_numpy(pad(framed, self._spec)).long(),
            self._targets[torch.from_numpy(rows)].float(),
            self._config.weight,
            torch.tensor([frame.share for frame in frames]) if self._is_routed else None,
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
