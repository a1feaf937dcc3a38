"""Low-rank adapters: they begin as the base, learn alone, and are merged wherever weights are read."""

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from diptych_training.checkpoint import MODEL, Checkpoint, read_checkpoint, write_checkpoint
from diptych_training.config import LockConfig, LoraConfig, TrainConfig
from diptych_training.errors import TrainingConfigError
from diptych_training.models import CLIP, build_model
from diptych_training.models.lora import adapter_weights
from diptych_training.train.lock import lock
from diptych_training.train.optim import named_parameters
from diptych_training.train.state import TrainState, new_state
from support.small_recipe import gradient_step_of, random_batch, small_recipe
from support.tiny_run import (
    TINY_POOLED_VIT,
    TINY_RESNET,
    TINY_VIT,
    tiny_clip,
    tiny_siglip,
)

LOCKED = LockConfig(image="all", text="all", scale=True)
LORA = {"rank": 2}


def adapted_recipe(**tables: object) -> TrainConfig:
    """Both towers locked, each with adapters."""
    given = {"lock": LOCKED, "lora": LORA, "start": "base", "optim": {"lr": 0.05, "warmup_steps": 0}}
    return small_recipe(run={"ema_decay": 0.5}, **{**given, **tables})


def base_of(config: TrainConfig) -> Checkpoint:
    torch.manual_seed(1)
    tensors = build_model(config.model).state_dict()
    return Checkpoint({f"{MODEL}{name}": tensor for name, tensor in tensors.items()}, {"step": 0})


def trained(config: TrainConfig, state: TrainState, until: int) -> list[float]:
    """Train on from the state's step; the losses."""
    gradient_step, losses = gradient_step_of(state, config), []
    for step in range(state.step, until):
        loss = gradient_step.forward_backward(random_batch(0))["loss"]
        norm = state.stepper.apply(step, loss)
        assert state.ema is not None
        state.ema.update(state.model, step, norm.isfinite())
        state.step = step + 1
        losses.append(float(loss))
    return losses


def outputs(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    assert isinstance(model, CLIP)
    batch = random_batch(3)
    with torch.no_grad():
        images, texts = copy.deepcopy(model).eval()(batch.images, batch.input_ids)
    return images, texts


@pytest.mark.parametrize("image", [TINY_VIT, TINY_POOLED_VIT], ids=lambda image: image.kind)
def test_before_the_first_step_outputs_are_exactly_those_of_the_base(image):
    model = tiny_siglip(image) if image is TINY_POOLED_VIT else tiny_clip(image)
    base = build_model(model).requires_grad_(False)  # torch computes learned weights in another order
    adapted = copy.deepcopy(base)
    lock(adapted, LOCKED, LoraConfig(rank=2))
    assert adapter_weights(adapted)
    pixels, ids = torch.randn(3, 3, 32, 32), torch.randint(1, 599, (3, 12))
    for before, after in zip(base.eval()(pixels, ids), adapted.eval()(pixels, ids), strict=True):
        assert torch.equal(before, after)


def test_the_optimizer_holds_adapters_only_and_they_bring_the_loss_down():
    config = adapted_recipe()
    base = base_of(config)
    state = new_state(config, base)
    names = {name for name, _ in named_parameters(state.optimizer)}
    of_block = ("attn.lora", "attn.out_proj.lora", "mlp.c_fc.lora", "mlp.c_proj.lora")
    towers = ("visual.transformer", "transformer")
    assert names == {
        f"{tower}.resblocks.{block}.{part}.{factor}"
        for tower in towers for block in range(2) for part in of_block for factor in ("up", "down")
    }  # fmt: skip
    losses = trained(config, state, 8)
    assert losses[-1] < 0.8 * losses[0]
    after = state.model.state_dict()
    assert all(torch.equal(tensor, after[name.removeprefix(MODEL)]) for name, tensor in base.tensors.items())


def test_checkpoints_hold_a_plain_model_with_the_outputs_of_the_adapted_one():
    config = adapted_recipe()
    state = new_state(config, base_of(config))
    trained(config, state, 4)
    assert state.ema is not None
    for checkpoint, prefix, model in (
        (state.checkpoint({}), MODEL, state.model),
        (state.checkpoint({}), "ema.", state.ema.model),
        (state.best_checkpoint({}), MODEL, state.ema.model),
    ):
        plain = build_model(config.model)
        plain.load_state_dict(checkpoint.under(prefix))
        for wanted, found in zip(outputs(model), outputs(plain), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_resumed_run_continues_as_if_it_had_not_been_interrupted(tmp_path: Path):
    config = adapted_recipe()
    base = base_of(config)
    whole, first = (new_state(config, base) for _ in range(2))
    trained(config, whole, 6)
    trained(config, first, 3)
    write_checkpoint(tmp_path / "last.safetensors", first.checkpoint({}))
    second = new_state(config, base)
    second.restore(read_checkpoint(tmp_path / "last.safetensors"))
    trained(config, second, 6)
    assert whole.ema is not None
    assert second.ema is not None
    for one, other in ((whole.model, second.model), (whole.ema.model, second.ema.model)):
        assert all(torch.equal(t, other.state_dict()[name]) for name, t in one.state_dict().items())


def test_layers_that_are_not_locked_learn_in_full():
    model = build_model(tiny_clip(TINY_VIT))
    lock(model, LockConfig(image=2, text="all"), LoraConfig(rank=2, targets=("mlp",)))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "visual.transformer.resblocks.0.mlp.c_fc.lora.up" in learning
    assert "visual.transformer.resblocks.1.mlp.c_fc.weight" in learning
    assert not any(name.startswith("visual.transformer.resblocks.1") and "lora" in name for name in learning)


def test_adapters_without_a_locked_weight_are_refused():
    model = build_model(tiny_clip(TINY_RESNET))
    with pytest.raises(TrainingConfigError, match=r"lora\.targets is attention, mlp: no locked layer has"):
        lock(model, LockConfig(image="all"), LoraConfig(targets=("attention", "mlp")))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"start": None}, "it needs start"),
        ({"scale": {"shard": True}}, "goes without scale.shard"),
        ({"lock": {"image": "all", "cache": True}}, "goes without lock.cache"),
    ],
)
def test_recipes_in_which_adapters_cannot_learn_are_refused(tables, message):
    with pytest.raises(ValidationError, match=message):
        adapted_recipe(**tables)
