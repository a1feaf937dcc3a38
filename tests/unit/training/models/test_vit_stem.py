"""A vision transformer with a convolutional stem; without one, nothing changes."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from diptych_training.config import LockConfig
from diptych_training.models import CLIP, ViTConfig, build_model
from diptych_training.models.depth import Depth, depths
from diptych_training.train.lock import lock
from diptych_training.train.optim import is_decayed
from support.families import random_model
from support.tiny_run import (
    IMAGE_SIZE,
    TINY_STEMMED_VIT,
    TINY_VIT,
    tiny_clip,
)

STEM = TINY_STEMMED_VIT.stem


def stemmed() -> CLIP:
    return random_model(tiny_clip(TINY_STEMMED_VIT))


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.named_buffers() if "visual.stem." in name}


@pytest.mark.parametrize(
    ("stem", "message"),
    [
        ([8, 16], "stem halves the image 2 times, which makes patches of 4 pixels: patch_size is 8"),
        ([8, 16, 24, 32], "which makes patches of 16 pixels: patch_size is 8"),
        ([8, 16, 0], "greater than 0"),
    ],
)
def test_a_stem_that_does_not_match_the_patch_size_is_refused(stem, message):
    with pytest.raises(ValidationError, match=message):
        ViTConfig.model_validate({**TINY_VIT.model_dump(), "stem": stem})


def test_the_stem_is_the_first_layer_and_only_its_kernels_decay():
    model = stemmed()
    named = {name: p for name, p in model.named_parameters() if ".stem." in name}
    assert len(named) == 3 * len(STEM)
    placed = depths(model.state_dict())
    assert {placed[name] for name in statistics(model) | named} == {Depth("image", 0, 4)}
    assert placed["visual.proj"] == Depth("image", 3, 4)
    assert {name for name, p in named.items() if is_decayed(name, p)} == {
        f"visual.stem.{level}.conv.weight" for level in range(len(STEM))
    }


@pytest.mark.parametrize("locked", [{"image": 1}, {"statistics": True}])
def test_a_locked_stem_keeps_its_statistics(locked):
    model = build_model(tiny_clip(TINY_STEMMED_VIT)).train()
    lock(model, LockConfig.model_validate(locked))
    before = statistics(model)
    model.encode_image(torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE))
    after = statistics(copy.deepcopy(model))
    assert before
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    learned = {p.requires_grad for name, p in model.named_parameters() if ".stem." in name}
    assert learned == {"statistics" in locked}
