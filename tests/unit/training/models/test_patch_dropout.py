"""Patches that are left out in training."""

import torch

from diptych_training.models import ModelConfig, ViTConfig, build_model
from support.small_recipe import TEXT
from support.tiny_run import TINY_VIT


def model_of(patch_dropout: float) -> torch.nn.Module:
    torch.manual_seed(0)
    image = ViTConfig.model_validate({**TINY_VIT.model_dump(), "patch_dropout": patch_dropout})
    return build_model(ModelConfig(embed_dim=8, image_size=32, image=image, text=TEXT))


def test_training_sees_a_part_of_the_patches_of_each_image_and_evaluation_all():
    model, whole = model_of(0.75), model_of(0.0)
    pixels = torch.randn(5, 3, 32, 32)
    lengths: list[int] = []
    model.visual.transformer.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    n_patches = (32 // TINY_VIT.patch_size) ** 2
    one, other = (model.encode_image(pixels) for _ in range(2))
    assert lengths == [1 + n_patches // 4] * 2
    assert not torch.equal(one, other)
    torch.testing.assert_close(model.eval().encode_image(pixels), whole.eval().encode_image(pixels))
