"""A recipe of a few steps for a tiny model, its batches, and two steps of it."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from diptych_training.config import DataConfig, OptimConfig, RunConfig, TrainConfig, dump_config
from diptych_training.models import ModelConfig, ResNetConfig, TextConfig, ViTConfig, build_model
from diptych_training.models.config import is_routed
from diptych_training.train.batches.batch import Batch, TeacherBatch
from diptych_training.train.distributed.parallel import full_tensors
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks
from diptych_training.train.objective import objective_of
from diptych_training.train.state import TrainState, new_state
from diptych_training.train.step import GradientStep
from diptych_training.train.teachers import Teachers
from support.tiny_run import TINY_RESNET, TINY_VIT, tiny_image_spec, tiny_text_spec

N_ITEMS = 8
TEXT = TextConfig(vocab_size=600, context_length=12, width=16, layers=2, heads=2)


def small_recipe(
    image: ViTConfig | ResNetConfig = TINY_VIT, run: dict[str, object] | None = None, **tables: object
) -> TrainConfig:
    """A few steps in float32 without image augmentation."""
    given = {"steps": 8, "batch_size": N_ITEMS, "log_every": 1, "validate_every": 4, "checkpoint_every": 3}
    return TrainConfig.model_validate(
        {
            "name": "small",
            "model": ModelConfig(embed_dim=8, image_size=32, image=image, text=TEXT),
            "preprocess": tiny_image_spec(),
            "text": tiny_text_spec(),
            "data": DataConfig(mixture={"icons": 1.0}),
            "optim": OptimConfig(warmup_steps=2),
            "run": RunConfig.model_validate({**given, "precision": "fp32", **(run or {})}),
            **tables,
        }
    )


def write_small_recipe(path: Path, config: TrainConfig) -> Path:
    """Write the recipe to a file."""
    path.write_text(dump_config(config))
    return path


def random_batch(step: int, ranks: Ranks = SINGLE_RANK) -> Batch:
    """Random pixels and texts, in which two pairs share their caption; only the share of a rank."""
    generator = torch.Generator().manual_seed(step)
    own = ranks.share(N_ITEMS)
    pixels = torch.randn(N_ITEMS, 3, 32, 32, generator=generator)
    input_ids = torch.randint(1, 599, (N_ITEMS, 7), generator=generator)
    input_ids[:, -1] = 599
    keys = torch.arange(2 * N_ITEMS).view(N_ITEMS, 2)
    for one, other in ((0, 5), (2, 3)):
        input_ids[other], keys[other, 0] = input_ids[one], keys[one, 0]
    return Batch(pixels[own], input_ids[own], keys[own])


def random_taught_batch(step: int, config: TrainConfig, ranks: Ranks = SINGLE_RANK) -> TeacherBatch:
    """Random texts with random targets, and shares for a routed text tower; only the share of a rank."""
    teacher_texts = config.text_teacher
    assert teacher_texts is not None
    generator = torch.Generator().manual_seed(1000 + step)
    input_ids = torch.randint(1, 599, (teacher_texts.batch_size, 5), generator=generator)
    input_ids[:, -1] = 599
    targets = torch.randn(
        teacher_texts.batch_size, teacher_texts.dims or config.model.embed_dim, generator=generator
    )
    own = ranks.share(teacher_texts.batch_size)
    shares = torch.rand(teacher_texts.batch_size, generator=generator)[own]
    return TeacherBatch(
        input_ids[own],
        F.normalize(targets, dim=1)[own],
        teacher_texts.weight,
        shares if is_routed(config.model) else None,
    )


@dataclass(frozen=True)
class TwoSteps:
    """The results of two steps: the losses, the gradients of the first step, and the state after both.

    For a sharded model also which weights are sharded, and which modules are gathered on their own.
    """

    losses: list[float]
    gradients: dict[str, Tensor]
    after: dict[str, Tensor]
    sharded_weights: list[str]
    sharded_modules: list[str]


def gradient_step_of(state: TrainState, config: TrainConfig) -> GradientStep:
    """The gradient step as the loop builds it, with random teachers."""
    return GradientStep(
        state.model,
        state.towers,
        objective=objective_of(config),
        precision=config.run.precision,
        chunk_size=config.scale.chunk_size,
        ranks=state.ranks,
        teachers=None if config.distill is None else random_teachers(config),
    )


def random_teachers(config: TrainConfig) -> Teachers:
    """Random weights, the same for the same number of teachers; each has another width and scale."""
    assert config.distill is not None
    models = []
    with torch.random.fork_rng():
        for number in range(len(config.distill.teachers)):
            torch.manual_seed(100 + number)
            wider = {"embed_dim": 12 + 4 * number, "initial_scale": 20.0 + 10 * number, "image": TINY_RESNET}
            models.append(build_model(config.model.model_copy(update=wider)).eval().requires_grad_(False))
    return Teachers(tuple(models), config.distill.weight)


def two_steps(config: TrainConfig, ranks: Ranks = SINGLE_RANK) -> TwoSteps:
    """Run two steps from the seed on; gradients and state are gathered in the first rank."""
    state = new_state(config, ranks=ranks)
    gradient_step = gradient_step_of(state, config)
    losses, gradients = [], {}
    for step in range(2):
        batch = random_batch(step, ranks)
        if config.text_teacher is not None:
            batch = replace(batch, teacher_texts=random_taught_batch(step, config, ranks))
        loss = gradient_step.forward_backward(batch)["loss"]
        losses.append(float(loss))
        if step == 0:
            found = {n: p.grad for n, p in state.model.named_parameters() if p.grad is not None}
            gradients = {name: t.clone() for name, t in full_tensors(found, ranks).items()}
        norm = state.stepper.apply(step, loss)
        if state.ema is not None:
            state.ema.update(state.model, step, norm.isfinite())
    return TwoSteps(
        losses,
        gradients,
        after=state.checkpoint({}).tensors,
        sharded_weights=[name for name, p in state.model.named_parameters() if isinstance(p, DTensor)],
        sharded_modules=[name for name, part in state.model.named_modules() if isinstance(part, FSDPModule)],
    )
