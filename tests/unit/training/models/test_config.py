"""Architectures as data."""

import pytest
import torch
from pydantic import ValidationError

from diptych_training.models import ModelConfig, TextConfig
from diptych_training.models.clip import image_tower
from diptych_training.models.config import grid_width
from support.tiny_run import (
    TINY_LITE,
    TINY_POOLED_VIT,
    TINY_RESNET,
    TINY_STEMMED_VIT,
    TINY_VIT,
    tiny_clip,
    tiny_siglip,
)

TEXT = TextConfig(vocab_size=600, context_length=8, width=16, layers=1, heads=2)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"kind": "resnet", "layers": [1, 1], "width": 8, "planes": [8], "heads": 1}, "planes has 1 stages"),
        ({"kind": "resnet", "layers": [1], "width": 7, "heads": 1}, "width is 7"),
        ({"kind": "resnet", "layers": [1], "width": 8, "heads": 5}, "heads 5 does not divide"),
        (
            {"kind": "vit", "patch_size": 5, "width": 8, "layers": 1, "heads": 1},
            "not a multiple of the stride 5",
        ),
        ({"kind": "vit", "patch_size": 8, "width": 8, "layers": 1, "heads": 1, "depth": 2}, "depth"),
    ],
)
def test_an_impossible_architecture_is_refused(image, message):
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate(
            {"embed_dim": 8, "image_size": 32, "image": image, "text": TEXT.model_dump()}
        )


@pytest.mark.parametrize("image", [TINY_RESNET, TINY_VIT, TINY_STEMMED_VIT, TINY_POOLED_VIT, TINY_LITE])
@pytest.mark.parametrize("size", [64, 32])
def test_every_tower_has_a_grid_without_its_pooling(image, size):
    config = (tiny_siglip if image is TINY_POOLED_VIT else tiny_clip)(image)
    tower = image_tower(config).eval()
    pixels = torch.randn(2, 3, size, size)
    grid = tower.grid(pixels)
    assert grid.shape == (2, (size // image.stride) ** 2, grid_width(image))
    tower.drop_pooling()
    assert torch.equal(tower.grid(pixels), grid)
    tower.grid(pixels).sum().backward()
    assert [name for name, p in tower.named_parameters() if p.grad is None] == []
