"""The grid of features before pooling, which objectives that predict captions look at."""

import pytest
import torch

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


@pytest.mark.parametrize("image", [TINY_RESNET, TINY_POOLED_VIT])
def test_pooling_the_grid_gives_the_feature_of_the_image(image):
    config = (tiny_siglip if image is TINY_POOLED_VIT else tiny_clip)(image)
    tower, pixels = image_tower(config).eval(), torch.randn(2, 3, 32, 32)
    grid = tower.grid(pixels)
    cells = grid.transpose(1, 2).unflatten(2, (8, 8)) if image is TINY_RESNET else grid
    torch.testing.assert_close(tower.attnpool(cells), tower(pixels))
