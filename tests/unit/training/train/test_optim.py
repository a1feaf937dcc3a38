"""Schedule, decay groups and steps that survive non-finite gradients."""

import math

import numpy as np
import pytest
import torch

from diptych_training.config import OptimConfig
from diptych_training.errors import TrainingFailed
from diptych_training.models import CLIP, ModelConfig, TextConfig, ViTConfig, build_model
from diptych_training.train.optim import (
    Stepper,
    build_optimizer,
    learning_rate,
)

LOSS = torch.tensor(1.0)
CONFIG = OptimConfig(lr=1.0, min_lr_ratio=0.1, warmup_steps=4, max_skipped_in_row=3)


def tiny_model() -> CLIP:
    torch.manual_seed(0)
    text = TextConfig(vocab_size=20, context_length=6, width=8, layers=1, heads=2)
    image = ViTConfig(patch_size=8, width=8, layers=1, heads=2)
    return build_model(ModelConfig(embed_dim=4, image_size=16, image=image, text=text))


def set_gradients(model: CLIP, value: float) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, value)


def test_rate_warms_up_then_falls_as_a_cosine_to_its_floor():
    rates = [learning_rate(step, 100, CONFIG) for step in range(100)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert learning_rate(52, 100, CONFIG) == pytest.approx(0.55)


def test_a_constant_rate_falls_along_a_line_in_its_last_part():
    config = CONFIG.model_copy(update={"schedule": "constant", "cooldown": 0.2})
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[3:81] == [1.0] * 78
    assert rates[90] == pytest.approx(0.55)
    assert np.diff(rates[80:]) == pytest.approx([-0.045] * 19)


def test_only_matrices_decay():
    model = tiny_model()
    decayed, others = (group["params"] for group in build_optimizer(model, CONFIG).param_groups)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)] for p in decayed} >= {"text_projection", "visual.conv1.weight"}
    undecayed = {names[id(p)] for p in others}
    assert undecayed >= {"logit_scale", "token_embedding.weight", "positional_embedding", "ln_final.weight"}
    assert len(decayed) + len(others) == len(names)


def test_a_layer_moves_at_its_own_rate():
    model = tiny_model()
    config = CONFIG.model_copy(update={"layer_decay": 0.5, "weight_decay": 0.0, "warmup_steps": 0})
    stepper = Stepper(model, build_optimizer(model, config), config, n_steps=10)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    set_gradients(model, 0.1)
    stepper.apply(0, LOSS)
    moved = {name: (p - before[name]).abs().max().item() for name, p in model.named_parameters()}
    assert moved["text_projection"] == pytest.approx(1.0, rel=1e-2)  # Adam's first step is the rate itself
    assert moved["ln_final.weight"] == pytest.approx(1.0, rel=1e-2)
    assert moved["transformer.resblocks.0.ln_1.weight"] == pytest.approx(0.5, rel=1e-2)
    assert moved["token_embedding.weight"] == pytest.approx(0.25, rel=1e-2)


def test_a_non_finite_step_is_skipped_and_counted():
    model = tiny_model()
    stepper = Stepper(model, build_optimizer(model, CONFIG), CONFIG, n_steps=10)
    before = {name: p.clone() for name, p in model.named_parameters()}
    set_gradients(model, math.nan)
    stepper.apply(0, LOSS)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    set_gradients(model, 0.1)
    stepper.apply(1, LOSS)
    assert (stepper.n_skipped, stepper.n_skipped_in_row) == (1, 0)
    assert not torch.equal(model.text_projection, before["text_projection"])


def test_skipped_steps_in_a_row_are_found_after_one_that_was_not_skipped():
    model = tiny_model()
    stepper = Stepper(model, build_optimizer(model, CONFIG), CONFIG, n_steps=10)
    for step, value in enumerate([math.nan, math.nan, 0.1, math.nan]):
        set_gradients(model, value)
        stepper.apply(step, LOSS)
    stepper.check(3)
    assert (stepper.n_skipped, stepper.n_skipped_in_row) == (3, 1)
    for step, value in enumerate([math.nan, math.nan, 0.1], 4):
        set_gradients(model, value)
        stepper.apply(step, LOSS)
    with pytest.raises(TrainingFailed, match="3 times in a row"):
        stepper.check(6)
