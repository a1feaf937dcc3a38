"""Training FLOPs of a recipe, counted without data or a run.

Counted are the matrix products and convolutions of one step, forward and backward: those of the towers (or of
the image tower and the objective's head) and those that compare the pairs of a batch. A multiplication and an
addition are two. Images have their full size, a dictionary is full, and everything
learns. Not counted are other operations (normalisation, activations, softmax, lookups), the optimizer,
averaging of weights, augmentation, teachers and the texts of a text teacher, validation, what `scale`
computes twice, and what `lock.cache` has features of.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from diptych_training.config import TrainConfig
from diptych_training.models.count import meta_model
from diptych_training.models.photographs_and_drawings import PhotographsAndDrawings
from diptych_training.objectives.contrastive import Pairs
from diptych_training.objectives.kinds import PredictiveConfig, contrastive_objective, predictive_objective
from diptych_training.objectives.predictive import PredictiveModel
from diptych_training.objectives.words import Captions

N_PREDICTED = 2  # items of an objective that compares no pairs: each costs the same


def training_flops(config: TrainConfig, text_length: int | None = None) -> float:
    """FLOPs of one step per image of its batch. The random state of torch does not change.

    Captions have so many tokens; by default they fill the context.
    """
    text_length = text_length or config.model.text.context_length
    predictive = config.predictive
    plain_attention = sdpa_kernel(SDPBackend.MATH)  # torch does not count the fused one of a CPU
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward}
    )
    with torch.random.fork_rng(devices=[]), plain_attention, counter:
        if predictive is None:
            n, loss = config.run.batch_size, _contrastive_loss(config, text_length)
        else:
            n, loss = N_PREDICTED, _predictive_loss(config, predictive, text_length)
        loss.backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops() / n)


def _convolution_backward(
    grad_output: Sequence[int], images: Sequence[int], weight: Sequence[int], *others: Any, out_shape: object
) -> int:
    """As much as forward for each of the two gradients; torch counts convolutions in groups as if they had
    none.
    """
    _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, output_mask = others
    forward = conv_flop_count(list(images), list(weight), list(grad_output), transposed)
    return int(forward * sum(output_mask[:2]))


def _contrastive_loss(config: TrainConfig, text_length: int) -> Tensor:
    """The loss of a whole batch: shapes without values, so that its size costs nothing."""
    n = config.run.batch_size
    model = meta_model(config.model)
    with torch.device("meta"):
        if config.drawing_size is not None and isinstance(model.visual, PhotographsAndDrawings):
            pooled = torch.zeros(n, model.visual.gate.in_features)
            images = model.encode_image(torch.zeros(n, 3, *[config.drawing_size] * 2), pooled)
        elif config.lock.cache:
            images = torch.zeros(n, config.model.embed_dim)
        else:
            images = model.encode_image(_pixels(config, n))
        texts = model.encode_text(torch.zeros(n, text_length, dtype=torch.int64))
        pairs = Pairs(images, texts, positives=torch.ones(n, n, dtype=torch.bool))
    objective = contrastive_objective(config.objective, config.loss, config.label_smoothing)
    return objective.loss(pairs, model.logit_scale, model.logit_bias)


def _predictive_loss(config: TrainConfig, predictive: PredictiveConfig, text_length: int) -> Tensor:
    """The loss of a few items with values: the objectives look at their captions."""
    captions = _FullCaptions(config)
    dictionary = dict.fromkeys(map(str, range(predictive.n_entries)), 1)
    model = PredictiveModel(
        config.model, predictive_objective(predictive, config.model, captions, dictionary)
    )
    ids = torch.zeros(N_PREDICTED, text_length, dtype=torch.int64)
    ids[:, -1] = captions.end
    keys = torch.zeros(N_PREDICTED, dtype=torch.int64)
    texts = model.objective.targets(ids, keys, np.random.default_rng(0))
    loss: Tensor = model(_pixels(config, N_PREDICTED), texts.input_ids, texts.targets)
    return loss


def _pixels(config: TrainConfig, n: int) -> Tensor:
    return torch.zeros(n, 3, config.model.image_size, config.model.image_size)


class _FullCaptions(Captions):
    """Stands for the captions of a run before it has a tokenizer: sizes alone, and no known word."""

    def __init__(self, config: TrainConfig) -> None:
        self.spec = config.text
        self.vocab_size = config.model.text.vocab_size
        self.end = self.vocab_size - 1

    def words_of(self, ids: list[int]) -> tuple[str, ...]:
        return ()
