"""Distillation in a step: loss and gradients match the formula, and a student approaches its teacher."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from diptych_training.config import TrainConfig
from diptych_training.models import CLIP
from diptych_training.objectives.distillation import affinities
from diptych_training.train.batches.batch import Batch
from diptych_training.train.state import new_state
from support.small_recipe import gradient_step_of, random_batch, random_teachers, small_recipe

TWO = {"teachers": ["a", "b"], "weight": 0.3}


def logits(model: CLIP, batch: Batch) -> Tensor:
    """(B, B): images against texts, written out."""
    images, texts = model.encode_image(batch.images), model.encode_text(batch.input_ids)
    images, texts = images / images.norm(dim=1, keepdim=True), texts / texts.norm(dim=1, keepdim=True)
    return model.logit_scale.exp() * images @ texts.T


def naive(config: TrainConfig, batch: Batch) -> tuple[float, float, float, dict[str, Tensor]]:
    """Loss, contrastive part, distilled part and gradients by the formula, for each teacher and row."""
    assert config.distill is not None
    student = new_state(config).model
    teachers, own = random_teachers(config).models, logits(student, batch)
    contrastive, distilled = [], []
    for direction in (lambda matrix: matrix, lambda matrix: matrix.T):
        probabilities = [direction(logits(teacher, batch)).exp() for teacher in teachers]
        targets = sum(one / one.sum(dim=1, keepdim=True) for one in probabilities) / len(probabilities)
        log_probability = F.log_softmax(direction(own), dim=1)
        hard = batch.positives / batch.positives.sum(dim=1, keepdim=True)
        contrastive.append(-(hard * log_probability).sum() / len(own))
        distilled.append(-(targets * log_probability).sum() / len(own))
    parts, weight = (sum(contrastive) / 2, sum(distilled) / 2), config.distill.weight
    loss = (1 - weight) * parts[0] + weight * parts[1]
    loss.backward()
    gradients = {name: p.grad for name, p in student.named_parameters()}
    return loss.item(), parts[0].item(), parts[1].item(), gradients


@pytest.mark.parametrize("chunk_size", [None, 3, 4])
def test_loss_and_gradients_match_the_formula_with_and_without_chunks(chunk_size):
    config = small_recipe(distill=TWO, scale={} if chunk_size is None else {"chunk_size": chunk_size})
    loss, contrastive, distilled, gradients = naive(config, random_batch(0))
    state = new_state(config)
    losses = gradient_step_of(state, config).forward_backward(random_batch(0))
    assert losses == pytest.approx(
        {"loss": loss, "loss/contrastive": contrastive, "loss/distill": distilled}, rel=1e-5
    )
    for name, parameter in state.model.named_parameters():
        difference = (parameter.grad - gradients[name]).norm()
        assert difference <= 2e-5 * gradients[name].norm() + 1e-7, name  # sums are taken in another order


def test_a_student_approaches_the_probabilities_of_its_teacher():
    config = small_recipe(distill={"teachers": ["a"], "weight": 1.0}, optim={"lr": 3e-3, "warmup_steps": 1})
    state, batch = new_state(config), random_batch(0)
    gradient_step = gradient_step_of(state, config)
    (teacher,) = gradient_step.teachers.models

    def predictions(model: CLIP) -> Tensor:
        with torch.no_grad():
            images, texts = model(batch.images, batch.input_ids)
            return affinities(images, texts, slice(None), model.logit_scale).image_to_text

    def distance() -> float:
        """The mean divergence of the student's probabilities from the teacher's."""
        return F.kl_div(predictions(state.model).log(), predictions(teacher), reduction="batchmean").item()

    before = distance()
    for step in range(6):
        losses = gradient_step.forward_backward(batch)
        state.stepper.apply(step, losses["loss"])
    assert losses["loss"] == losses["loss/distill"]
    assert distance() < before / 2


def test_only_rehearsed_items_are_distilled_where_the_recipe_says_so():
    batch, n = random_batch(0), 3
    of_all = {"teachers": ["a", "b"], "weight": 1.0}
    config = small_recipe(distill=of_all)
    teachers = random_teachers(config)
    student, rows = new_state(config).model, slice(len(batch.keys) - n, None)
    expected = []
    for direction in (lambda matrix: matrix, lambda matrix: matrix.T):
        targets = [direction(logits(teacher, batch)).softmax(dim=1) for teacher in teachers.models]
        log_probability = F.log_softmax(direction(logits(student, batch)), dim=1)
        expected.append(-((targets[0] + targets[1]) / 2 * log_probability)[rows].sum() / n)
    step = replace(gradient_step_of(new_state(config), config), teachers=replace(teachers, on_rehearsed=True))
    losses = step.forward_backward(replace(batch, n_rehearsed=n))
    assert losses["loss/distill"].item() == pytest.approx(sum(expected).item() / 2, rel=1e-5)
