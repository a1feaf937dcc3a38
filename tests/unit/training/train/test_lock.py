"""Locked weights and statistics do not change; all others learn."""

import copy

import pytest
import torch

from diptych_training.config import LockConfig, OptimConfig
from diptych_training.errors import TrainingConfigError
from diptych_training.models import CLIP, ModelConfig, ResNetConfig, TextConfig, ViTConfig, build_model
from diptych_training.models.depth import Depth, depths
from diptych_training.train.lock import lock
from diptych_training.train.optim import Stepper, build_optimizer

TEXT = TextConfig(vocab_size=20, context_length=6, width=8, layers=2, heads=2)
VIT = ViTConfig(patch_size=8, width=8, layers=2, heads=2)
RESNET = ResNetConfig(block="basic", layers=(1, 1), width=8, heads=2, stem_pool=False)


def tiny_model(image: ViTConfig | ResNetConfig = VIT) -> CLIP:
    torch.manual_seed(0)
    return build_model(ModelConfig(embed_dim=4, image_size=16, image=image, text=TEXT))


def one_step(model: CLIP) -> set[str]:
    """Names of everything in the state dict that a step changes."""
    config = OptimConfig(lr=0.1, warmup_steps=0)
    stepper = Stepper(model, build_optimizer(model, config), config, n_steps=2)
    before = copy.deepcopy(model.state_dict())
    images, texts = model(torch.randn(4, 3, 16, 16), torch.randint(1, 20, (4, 6)))
    loss = (images * texts).sum() * model.logit_scale
    loss.backward()
    stepper.apply(0, loss.detach())
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def test_every_weight_has_its_depth_in_its_tower():
    placed = depths(name for name, _ in tiny_model().named_parameters())
    assert placed["visual.class_embedding"] == Depth("image", 0, 4)
    assert placed["visual.transformer.resblocks.1.ln_2.bias"] == Depth("image", 2, 4)
    assert placed["visual.proj"] == placed["visual.ln_post.weight"] == Depth("image", 3, 4)
    assert placed["positional_embedding"] == Depth("text", 0, 4)
    assert placed["ln_final.weight"] == Depth("text", 3, 4)
    assert "logit_scale" not in placed
    resnet = depths(name for name, _ in tiny_model(RESNET).named_parameters())
    assert resnet["visual.bn3.weight"] == Depth("image", 0, 4)
    assert resnet["visual.layer2.0.conv1.weight"] == Depth("image", 2, 4)
    assert resnet["visual.attnpool.positional_embedding"] == Depth("image", 3, 4)


def test_a_locked_tower_does_not_change_and_the_other_learns():
    model = tiny_model(RESNET)
    lock(model, LockConfig(image="all", scale=True))
    changed = one_step(model)
    assert changed
    assert not any(name.startswith("visual.") for name in changed)  # running statistics included
    assert "logit_scale" not in changed


def test_the_first_layers_are_locked_and_those_above_learn():
    model = tiny_model(RESNET)
    lock(model, LockConfig(image=2, text=3))
    changed = one_step(model)
    assert {name.split(".")[1] for name in changed if name.startswith("visual.")} == {"layer2", "attnpool"}
    assert {name for name in changed if not name.startswith("visual.")} == {
        "ln_final.weight", "ln_final.bias", "text_projection", "logit_scale",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("locked", "message"),
    [
        ({"image": 5}, "lock.image is 5, the image tower has 4 layers"),
        ({"text": 9}, "lock.text is 9, the text tower has 4 layers"),
        ({"image": "all", "text": 4}, "nothing is left to learn"),
    ],
)
def test_an_impossible_lock_is_named(locked, message):
    with pytest.raises(TrainingConfigError, match=message):
        lock(tiny_model(), LockConfig.model_validate(locked))
