"""Distillation of a text tower in a step: loss and gradients match the formula."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diptych_training.config import TrainConfig
from diptych_training.objectives.distillation import text_distillation_loss
from diptych_training.train.state import new_state
from support.small_recipe import (
    gradient_step_of,
    random_batch,
    random_taught_batch,
    small_recipe,
)
from support.tiny_run import TINY_WORD_PIECES

DIMS, WEIGHT = 5, 0.7
TEACHER = {"source": "any", "dims": DIMS, "weight": WEIGHT, "batch_size": 6}


def written_out(features: Tensor, targets: Tensor) -> Tensor:
    """One text and one pair of texts at a time."""
    learned = [row[: targets.shape[1]] / row[: targets.shape[1]].norm() for row in features]
    n = len(learned)
    distances = [1 - one @ target for one, target in zip(learned, targets, strict=True)]
    differences = [
        (learned[i] @ learned[j] - targets[i] @ targets[j]) ** 2 for i in range(n) for j in range(n)
    ]
    return sum(distances) / n + 2 * sum(differences) / n**2


def step_with(config: TrainConfig) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and gradients of the first step."""
    state = new_state(config)
    batch = random_batch(0)
    if config.text_teacher is not None:
        batch = replace(batch, teacher_texts=random_taught_batch(0, config))
    losses = gradient_step_of(state, config).forward_backward(batch)
    return losses, {name: p.grad for name, p in state.model.named_parameters()}


def test_the_loss_is_that_of_its_formula() -> None:
    teacher_texts = random_taught_batch(0, small_recipe(text_teacher=TEACHER))
    features = torch.randn(6, 8, generator=torch.Generator().manual_seed(3))
    expected = float(written_out(features, teacher_texts.targets))
    assert float(text_distillation_loss(features, teacher_texts.targets)) == pytest.approx(expected, rel=1e-5)
    halves = [
        text_distillation_loss(features, teacher_texts.targets, rows) for rows in (slice(3), slice(3, 6))
    ]
    assert float(sum(halves) / 2) == pytest.approx(expected, rel=1e-5)


def test_a_route_learns_the_shares_that_texts_ask_for() -> None:
    config = small_recipe(text_teacher={"source": "any", "dims": 6, "weight": WEIGHT, "batch_size": 6})
    text = TINY_WORD_PIECES.model_copy(update={"vocab_size": 600, "routed": True})
    config = config.model_copy(update={"model": config.model.model_copy(update={"text": text})})
    state, shares = new_state(config), torch.tensor([0.9, 0.5, 0.3, 0.9, 0.9, 0.5])
    taught = replace(random_taught_batch(0, config), shares=shares)
    batch = replace(random_batch(0), teacher_texts=taught)
    losses = gradient_step_of(state, config).forward_backward(batch)
    assert losses["loss/route"].item() == pytest.approx(math.log(2))  # both halves alike, as it begins
    parts = losses["loss/text_teacher"] + losses["loss/route"]
    assert losses["loss"].item() == pytest.approx((losses["loss/contrastive"] + WEIGHT * parts).item())
    expected = torch.zeros(text.vocab_size)
    expected.index_put_(
        (taught.input_ids,), (WEIGHT * (0.5 - shares) / 6)[:, None].expand(-1, 5), accumulate=True
    )
    torch.testing.assert_close(state.model.word_pieces.token_route.weight.grad[:, 0], expected)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_it_is_added_to_the_contrastive_loss(chunk_size: int | None) -> None:
    scale = {} if chunk_size is None else {"chunk_size": chunk_size}
    plain, gradients = step_with(small_recipe(scale=scale))
    contrastive = float(plain["loss"])
    config = small_recipe(scale=scale, text_teacher=TEACHER)
    losses, both = step_with(config)
    model, teacher_texts = new_state(config).model, random_taught_batch(0, config)
    loss = written_out(model.encode_text(teacher_texts.input_ids), teacher_texts.targets)
    loss.backward()
    assert losses == pytest.approx(
        {
            "loss": contrastive + WEIGHT * loss.item(),
            "loss/contrastive": contrastive,
            "loss/text_teacher": loss.item(),
        },
        rel=1e-5,
    )
    for name, parameter in model.named_parameters():
        own = 0 if parameter.grad is None else WEIGHT * parameter.grad
        torch.testing.assert_close(both[name], gradients[name] + own, rtol=1e-4, atol=1e-6)
